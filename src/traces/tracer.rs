//! Whether calls are traced, and the way of their spans.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::HeaderMap;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{types::lock, upheld::unless_it_panics};

use super::{
    Name, Parent, Span, TracesOptions, encode, export::Exporter, figures::TraceFigures,
    sampler::Sampler, span::Queue,
};

/// How long to wait before it is looked again whether calls have ended, at the end.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The tracing of calls, or none. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    sampler: Sampler,
    queue: Queue,
    exporting: Mutex<Option<Exporting>>,
}

#[derive(Debug)]
struct Exporting {
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Returns the tracing of nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Begins to trace calls. Their spans are sent from the runtime in which this is called.
    #[must_use]
    pub fn start(options: TracesOptions) -> Self {
        let (records, receiver) = mpsc::channel(options.room);
        let figures = Arc::<TraceFigures>::default();
        let resource = encode::resource(&options);
        let (close, closing) = oneshot::channel();
        let ways = (receiver, closing);
        let mut exporter = Exporter::new(options.collector, resource, Arc::clone(&figures), ways);
        let task = tokio::spawn(async move {
            while unless_it_panics("sending spans", exporter.run())
                .await
                .is_none()
            {}
        });
        Self(Some(Arc::new(Tracer {
            sampler: Sampler::new(options.part, options.asked),
            queue: Queue { records, figures },
            exporting: Mutex::new(Some(Exporting { close, task })),
        })))
    }

    /// Begins the span of a call with these headers, if it is traced. The callers' part in that decision is bounded, so only
    /// calls that were admitted are to come here.
    #[must_use]
    pub fn begin(
        &self,
        service: &'static str,
        method: &'static str,
        headers: &HeaderMap,
    ) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        let parent = Parent::of(headers);
        let takes = tracer.sampler.takes(parent.as_ref(), Instant::now());
        let name = Name::Call(service, method);
        takes.then(|| Span::first(name, parent, tracer.queue.clone()))
    }

    /// Returns what became of spans, if there are any.
    #[must_use]
    pub fn figures(&self) -> Option<&TraceFigures> {
        self.0.as_ref().map(|tracer| &*tracer.queue.figures)
    }

    /// Waits until the calls that are traced have ended, and sends what waits, but takes no longer than `limit`. Spans that end
    /// later are dropped.
    pub async fn close(&self, limit: Duration) {
        let Some(tracer) = &self.0 else {
            return;
        };
        let exporting = lock(&tracer.exporting).take();
        let Some(Exporting { close, mut task }) = exporting else {
            return;
        };
        let began = Instant::now();
        // A call's last span may end after its caller has the answer. Each trace that is open has a sender of its own.
        while tracer.queue.records.strong_count() > 1 && began.elapsed() < limit / 2 {
            sleep(LOOK_AGAIN).await;
        }
        // If the task has died, there is nobody to tell.
        _ = close.send(());
        if timeout(limit.saturating_sub(began.elapsed()), &mut task)
            .await
            .is_err()
        {
            task.abort();
        }
        let figures = &tracer.queue.figures;
        let lost = figures.waiting();
        if lost > 0 {
            figures.failed.add(lost);
            tracing::warn!(spans = lost, "spans that couldn't be sent in time are lost");
        }
    }
}
