//! A table of invalid values of a request: the field, and a change that makes it invalid.

use std::fmt::Debug;

use tonic::{Code, Response, Status};

use crate::{refusal::refusal, serving::SECRET};

type Change<T> = Box<dyn Fn(&mut T)>;

/// Invalid values of the fields of `T`.
pub struct Table<T> {
    good: T,
    bad: Vec<(String, Change<T>)>,
}

impl<T: Clone + Debug> Table<T> {
    /// Makes a table from a valid request.
    pub fn of(good: T) -> Self {
        Self {
            good,
            bad: Vec::new(),
        }
    }

    /// Adds a change that makes `field` invalid.
    pub fn bad(mut self, field: &str, change: impl Fn(&mut T) + 'static) -> Self {
        self.bad.push((field.to_owned(), Box::new(change)));
        self
    }

    /// Adds the invalid values of an optional id: it is too long, or has a control character.
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

    /// Adds the invalid values of a required id: the ones of [`Table::optional_id`], and an empty
    /// id.
    pub fn id(self, field: &str, set: impl Fn(&mut T, String) + Clone + 'static) -> Self {
        let empty = set.clone();
        let table = self.optional_id(field, set);
        table.bad(field, move |request| empty(request, String::new()))
    }

    /// Sends the valid request, which must be accepted. Then sends each invalid request, which must
    /// be refused because of the invalid field and no other.
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
            assert_eq!(found.retry_after, None, "{field}: repeating it is useless");
        }
    }
}
