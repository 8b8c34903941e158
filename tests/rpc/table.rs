//! A table of what can be wrong with a request: which field, and a change that makes it so.

use std::fmt::Debug;

use tonic::{Code, Response, Status};

use crate::{refusal::refusal, serving::SECRET};

type Change<T> = Box<dyn Fn(&mut T)>;

/// Bad values of the fields of `T`.
pub struct Table<T> {
    good: T,
    bad: Vec<(String, Change<T>)>,
}

impl<T: Clone + Debug> Table<T> {
    /// Begins with a request that is right.
    pub fn of(good: T) -> Self {
        Self {
            good,
            bad: Vec::new(),
        }
    }

    /// A change that makes `field` wrong.
    pub fn bad(mut self, field: &str, change: impl Fn(&mut T) + 'static) -> Self {
        self.bad.push((field.to_owned(), Box::new(change)));
        self
    }

    /// An id that may be left out: too long, or with a control character.
    pub fn optional_id(
        mut self,
        field: &str,
        set: impl Fn(&mut T, String) + Clone + 'static,
    ) -> Self {
        let long = "x".repeat(513);
        for bad in [long.as_str(), "\n", "\0", "\u{7f}", "\u{85}"] {
            let (bad, set) = (format!("{SECRET}{bad}"), set.clone());
            self = self.bad(field, move |request| set(request, bad.clone()));
        }
        self
    }

    /// An id: as [`Table::optional_id`], or empty.
    pub fn id(self, field: &str, set: impl Fn(&mut T, String) + Clone + 'static) -> Self {
        let empty = set.clone();
        let table = self.optional_id(field, set);
        table.bad(field, move |request| empty(request, String::new()))
    }

    /// Sends the right request, which is taken; then each wrong one, which is refused for the field
    /// that is wrong, and for no other.
    pub async fn check<A: Debug>(self, send: impl AsyncFn(T) -> Result<Response<A>, Status>) {
        send(self.good.clone()).await.unwrap();
        for (number, (field, change)) in self.bad.iter().enumerate() {
            let mut request = self.good.clone();
            change(&mut request);
            let found = refusal(send(request).await);
            let shown = (found.code, found.reason.as_str(), found.fields.as_slice());
            let expected = (
                Code::InvalidArgument,
                "INVALID_FIELD",
                std::slice::from_ref(field),
            );
            assert_eq!(shown, expected, "change {number} of {field}");
            assert_eq!(
                found.retry_after, None,
                "{field}: repeating it is of no use"
            );
        }
    }
}
