//! Sends spans to the collector, from one task.

use std::{mem, sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    resource::v1::Resource,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tonic::{Code, Request, transport::Channel};

use super::{Collector, encode, figures::TraceFigures, span::Record};

/// How many spans a request has at most.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for a request.
const EXPORT: Duration = Duration::from_secs(10);

/// Sends spans.
pub(super) struct Exporter {
    collector: Collector,
    client: TraceServiceClient<Channel>,
    resource: Resource,
    figures: Arc<TraceFigures>,
    is_failing: bool,
    records: mpsc::Receiver<Record>,
    /// What tells it to end.
    closing: oneshot::Receiver<()>,
    is_closing: bool,
}

/// Spans that are being sent. Those that the collector hasn't taken when this is dropped have failed.
struct Unsent {
    spans: u64,
    figures: Arc<TraceFigures>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.figures.failed.add(self.spans);
    }
}

impl Exporter {
    /// Returns one that sends to `collector` what `resource` says its spans are of: all of `records`, until `closing` is told or
    /// dropped. Runs in a runtime alone.
    pub fn new(
        collector: Collector,
        resource: Resource,
        figures: Arc<TraceFigures>,
        (records, closing): (mpsc::Receiver<Record>, oneshot::Receiver<()>),
    ) -> Self {
        let client = TraceServiceClient::new(collector.channel());
        Self {
            collector,
            client,
            resource,
            figures,
            is_failing: false,
            records,
            closing,
            is_closing: false,
        }
    }

    /// Sends all spans, until it is to end. Then sends what is there, without waiting for more. May be called again after it
    /// was dropped.
    pub async fn run(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = &mut self.closing, if !self.is_closing => {
                    self.is_closing = true;
                    self.records.close();
                    continue;
                }
                read = self.records.recv_many(&mut batch, BATCH) => if read == 0 { return },
            }
            let gathered = sleep(GATHER);
            tokio::pin!(gathered);
            while !self.is_closing && batch.len() < BATCH {
                let room = BATCH - batch.len();
                tokio::select! {
                    biased;
                    _ = &mut self.closing => {
                        self.is_closing = true;
                        self.records.close();
                    }
                    () = &mut gathered => break,
                    read = self.records.recv_many(&mut batch, room) => if read == 0 { break },
                }
            }
            self.send(mem::replace(&mut batch, Vec::with_capacity(BATCH)))
                .await;
        }
    }

    async fn send(&mut self, batch: Vec<Record>) {
        let spans = batch.len() as u64;
        let figures = Arc::clone(&self.figures);
        let mut unsent = Unsent { spans, figures };
        let request = encode::request(&self.resource, batch);
        let sent = timeout(EXPORT, self.sent(request)).await;
        match sent.unwrap_or(Err(Code::DeadlineExceeded)) {
            Ok(refused) => {
                unsent.spans = refused.min(spans);
                self.figures.exported.add(spans - unsent.spans);
                if mem::take(&mut self.is_failing) {
                    tracing::info!("spans reach the collector again");
                }
            }
            Err(code) => {
                if !mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(?code, "spans can't be sent to the collector, and are lost");
                }
            }
        }
    }

    /// Sends a request, and once more if the connection was lost. Returns how many spans the collector refuses.
    async fn sent(&mut self, request: ExportTraceServiceRequest) -> Result<u64, Code> {
        match self.sent_once(request.clone()).await {
            // The connection may have been idle for so long that it had ended.
            Err(Code::Unavailable) => self.sent_once(request).await,
            sent => sent,
        }
    }

    async fn sent_once(&mut self, request: ExportTraceServiceRequest) -> Result<u64, Code> {
        let mut request = Request::new(request);
        if let Some((name, value)) = self.collector.header() {
            request.metadata_mut().insert(name, value);
        }
        // What the collector says of an error may be anything. Its code is enough.
        let answer = self.client.export(request).await;
        let answer = answer.map_err(|status| status.code())?.into_inner();
        let refused = answer.partial_success.map(|part| part.rejected_spans);
        Ok(refused.map_or(0, |refused| u64::try_from(refused).unwrap_or_default()))
    }
}
