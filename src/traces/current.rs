//! The span for which a thread works at the moment.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
};

use super::{Attribute, Kind, Span, span::Active};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Active>>> = const { RefCell::new(None) };
}

/// That a span is the current one. When this is dropped, the one before is again.
#[derive(Debug)]
#[must_use]
pub struct Entered {
    before: Option<Arc<Active>>,
    /// It has to be dropped in the same thread.
    _here: PhantomData<*const ()>,
}

impl Entered {
    pub(super) fn new(span: Arc<Active>) -> Self {
        Self {
            before: CURRENT.replace(Some(span)),
            _here: PhantomData,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Begins a child of the current span, if there is one.
#[must_use]
pub fn child(name: &'static str, kind: Kind) -> Option<Span> {
    CURRENT.with_borrow(|current| current.as_ref()?.child(name, kind))
}

/// Has the current span say something, if there is one.
pub fn note(attribute: Attribute) {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.note(attribute);
        }
    });
}

/// Has the current span say that its work failed, if there is one.
pub fn fail() {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.fail();
        }
    });
}

/// Tells the current span, if there is one, that a request is sent again.
pub fn retried() {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.retried();
        }
    });
}

/// Runs `work`, while which `span` is the current one.
pub async fn during<F: Future + ?Sized>(span: Option<&Span>, mut work: Pin<&mut F>) -> F::Output {
    let Some(span) = span else {
        return work.await;
    };
    poll_fn(|cx| {
        let _entered = span.enter();
        work.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::{
        super::{Name, span::Queue},
        *,
    };

    #[test]
    fn a_span_is_current_only_while_its_work_runs() {
        let (records, mut receiver) = mpsc::channel(10);
        let figures = Arc::default();
        let queue = Queue { records, figures };
        let span = Span::first(Name::Work("w"), None, queue);
        assert!(child("no parent", Kind::Internal).is_none());
        let work = async {
            drop(child("before", Kind::Internal));
            tokio::task::yield_now().await;
            drop(child("after", Kind::Internal));
        };
        let mut work = pin!(work);
        let mut work = Box::pin(during(Some(&span), work.as_mut()));
        assert!((&mut work).now_or_never().is_none());
        // Others work meanwhile.
        assert!(child("no parent", Kind::Internal).is_none());
        assert!((&mut work).now_or_never().is_some());
        assert!(child("no parent", Kind::Internal).is_none());
        let names = [(); 2].map(|()| receiver.try_recv().unwrap().name);
        assert_eq!(names, [Name::Work("before"), Name::Work("after")]);
    }
}
