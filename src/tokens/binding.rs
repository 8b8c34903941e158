//! What a caller expects a row to be bound to.

use crate::{
    error::{Error, Unreadable},
    types::{ClientId, Row, Subject, UserId},
};

/// The expected owners of a row. A field that is `None` is not checked. The default expects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The expected [`Row::user_id`].
    pub user_id: Option<UserId>,
    /// The expected [`Row::client_id`].
    pub client_id: Option<ClientId>,
    /// The expected [`Row::upstream_subject`].
    pub upstream_subject: Option<Subject>,
}

impl Binding {
    /// Checks that `row` has the expected owners. A row that names no owner matches no expected owner.
    ///
    /// # Errors
    /// Returns [`Error::BindingMismatch`] if an owner differs.
    pub fn check(&self, row: &Row) -> Result<(), Error> {
        fn agrees<T: PartialEq>(expected: &Option<T>, found: &Option<T>) -> bool {
            expected.is_none() || expected == found
        }
        let holds = agrees(&self.user_id, &row.user_id)
            && agrees(&self.client_id, &row.client_id)
            && agrees(&self.upstream_subject, &row.upstream_subject);
        holds.then_some(()).ok_or(Error::BindingMismatch)
    }

    /// Checks that a row that can't be read doesn't name other owners. So a caller is told the same of another owner's row,
    /// whether or not this broker has its key. Nothing vouches for what is readable of the row, and nothing is handed out for it.
    ///
    /// # Errors
    /// Returns [`Error::BindingMismatch`] if an owner differs.
    pub(super) fn check_unreadable(&self, unreadable: &Unreadable) -> Result<(), Error> {
        unreadable
            .shown()
            .map_or(Ok(()), |shown| self.check(&shown.row))
    }
}
