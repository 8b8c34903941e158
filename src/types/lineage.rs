//! Which data of a store is meant.

/// Which data a store looked at or changed. As long as it stays the same, what was deleted stays deleted.
///
/// After a failover it is another one: the server that took over may lack the last writes. What was done before says
/// nothing about it, and neither does the silence of somebody whose writes it may lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lineage(u64);

impl Lineage {
    /// Returns the lineage with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}
