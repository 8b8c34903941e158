//! What a caller expects a row to be bound to.

use crate::{
    error::Error,
    types::{ClientId, Row, Subject, UserId},
};

/// Expected owners of a row; what is `None` isn't looked at. The default expects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Expected [`Row::user_id`].
    pub user_id: Option<UserId>,
    /// Expected [`Row::client_id`].
    pub client_id: Option<ClientId>,
    /// Expected [`Row::upstream_subject`].
    pub upstream_subject: Option<Subject>,
}

impl Binding {
    /// Checks a row. One that names no owner differs from every expected one.
    ///
    /// # Errors
    /// [`Error::BindingMismatch`].
    pub fn check(&self, row: &Row) -> Result<(), Error> {
        fn agrees<T: PartialEq>(expected: &Option<T>, found: &Option<T>) -> bool {
            expected.is_none() || expected == found
        }
        let holds = agrees(&self.user_id, &row.user_id)
            && agrees(&self.client_id, &row.client_id)
            && agrees(&self.upstream_subject, &row.upstream_subject);
        holds.then_some(()).ok_or(Error::BindingMismatch)
    }
}
