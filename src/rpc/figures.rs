//! How many calls of a service ended how, and how long they took.
//!
//! It counts what the caller is told: the code and reason of the response as it leaves, whoever made it. No name
//! that a caller made up gets a number of its own.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Response};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

use super::{caller_class::CallerClass, status};
use crate::{
    error::Error,
    meter::{Count, Distribution, Times},
    proto::v1::ErrorReason,
};

/// The name of all methods that the service doesn't have.
const OTHER: &str = "other";
/// How many codes gRPC has.
const CODES: usize = 17;
/// For how many reasons there is room. The numbers of those in the proto are below.
const REASONS: usize = 64;

/// The calls of one service, for one tenant.
#[derive(Debug)]
pub struct CallFigures {
    service: &'static str,
    methods: &'static [&'static str],
    /// In the order of `methods`. The last one is for all others.
    rpcs: Box<[Rpc]>,
}

#[derive(Debug, Default)]
struct Rpc {
    took: Times,
    /// By class of the caller and by code.
    ended: [[OnceLock<Box<Reasons>>; CODES]; CallerClass::ALL.len()],
}

/// By the number of the reason. 0 is for calls without one.
#[derive(Debug)]
struct Reasons([Count; REASONS]);

/// How many calls ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The method, or `other`.
    pub rpc: &'static str,
    /// Who called.
    pub class: CallerClass,
    /// The code, as the gRPC specification spells it.
    pub code: &'static str,
    /// The reason, or nothing where there is none.
    pub reason: &'static str,
    /// How many.
    pub calls: u64,
}

impl CallFigures {
    /// Returns the figures of a service with these methods.
    #[must_use]
    pub fn new(service: &'static str, methods: &'static [&'static str]) -> Self {
        Self {
            service,
            methods,
            rpcs: (0..=methods.len()).map(|_| Rpc::default()).collect(),
        }
    }

    /// Returns the full name of the service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Returns how many calls ended in which ways, for each way in which any did.
    pub fn ended(&self) -> impl Iterator<Item = Ended> {
        self.rpcs().flat_map(|(name, rpc)| rpc.ended(name))
    }

    /// Returns how long the calls of each method took that were admitted.
    pub fn took(&self) -> impl Iterator<Item = (&'static str, Distribution)> {
        let (_other, rpcs) = self.rpcs.split_last().unzip();
        let rpcs = self.methods.iter().copied().zip(rpcs.unwrap_or_default());
        rpcs.map(|(name, rpc)| (name, rpc.took.get()))
    }

    fn rpcs(&self) -> impl Iterator<Item = (&'static str, &Rpc)> {
        let names = self.methods.iter().copied().chain([OTHER]);
        names.zip(&self.rpcs)
    }

    /// Returns the position and the name of the method that `path` leads to.
    pub(super) fn method(&self, path: &str) -> Option<(usize, &'static str)> {
        let path = path.strip_prefix('/')?.strip_prefix(self.service)?;
        let name = path.strip_prefix('/')?;
        let mut methods = self.methods.iter().copied().enumerate();
        methods.find(|(_, method)| *method == name)
    }

    /// Counts a call of a method that the service doesn't have.
    pub(super) fn unknown(&self, class: CallerClass) {
        let unimplemented = code_of(Code::Unimplemented);
        self.rpcs[self.methods.len()].count(class, unimplemented, 0);
    }

    /// Counts a call that was refused before it began.
    pub(super) fn refused(&self, rpc: usize, class: CallerClass, error: &Error) {
        let (code, reason) = status::code_and_reason(error);
        self.rpcs[rpc].count(class, code_of(code), reason_of(reason));
    }

    /// Begins to measure a call that arrived at `started`.
    pub(super) fn begun(
        self: &Arc<Self>,
        rpc: usize,
        class: CallerClass,
        started: Instant,
    ) -> Measured {
        Measured {
            figures: Arc::clone(self),
            rpc,
            class,
            started,
            is_told: false,
        }
    }
}

impl Rpc {
    fn count(&self, class: CallerClass, code: usize, reason: usize) {
        let reasons = self.ended[class as usize][code].get_or_init(Box::default);
        reasons.0[reason].up();
    }

    fn ended(&self, rpc: &'static str) -> impl Iterator<Item = Ended> {
        let classes = CallerClass::ALL.into_iter().zip(&self.ended);
        let codes = classes.flat_map(|(class, codes)| {
            let codes = codes.iter().enumerate();
            codes.filter_map(move |(code, reasons)| Some((class, code, reasons.get()?)))
        });
        codes.flat_map(move |(class, code, reasons)| {
            let reasons = reasons.0.iter().map(Count::get).enumerate();
            let seen = reasons.filter(|(_, calls)| *calls > 0);
            seen.map(move |(reason, calls)| Ended {
                rpc,
                class,
                code: status::name(Code::from(i32::try_from(code).unwrap_or_default())),
                reason: reason_name(reason),
                calls,
            })
        })
    }
}

impl Default for Reasons {
    fn default() -> Self {
        Self([const { Count::new() }; REASONS])
    }
}

/// A call that is being measured. If it is dropped before its caller was told anything, the caller has left, and it
/// counts as `CANCELLED`.
#[derive(Debug)]
pub(super) struct Measured {
    figures: Arc<CallFigures>,
    rpc: usize,
    class: CallerClass,
    started: Instant,
    is_told: bool,
}

impl Measured {
    /// Takes note of what the caller is told.
    pub fn told(&mut self, response: &Response<Body>) {
        match response.headers().contains_key(Status::GRPC_STATUS) {
            // The code of a call that succeeds comes in the trailers.
            false => self.end(code_of(Code::Ok), 0),
            true => {
                let (code, reason) = refusal(response.headers());
                self.end(code, reason);
            }
        }
    }

    fn end(&mut self, code: usize, reason: usize) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let rpc = &self.figures.rpcs[self.rpc];
        rpc.took.note(self.started.elapsed());
        rpc.count(self.class, code, reason);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.end(code_of(Code::Cancelled), 0);
    }
}

/// Returns the code and the reason that the headers of an answer tell.
fn refusal(headers: &HeaderMap) -> (usize, usize) {
    let Some(status) = Status::from_header_map(headers) else {
        return (code_of(Code::Unknown), 0);
    };
    let info = status.get_details_error_info();
    let reason = info.and_then(|info| status::reason_named(&info.reason));
    (code_of(status.code()), reason.map_or(0, reason_of))
}

fn code_of(code: Code) -> usize {
    let code = usize::try_from(i32::from(code)).unwrap_or(CODES);
    if code < CODES { code } else { 2 }
}

fn reason_of(reason: ErrorReason) -> usize {
    let reason = usize::try_from(i32::from(reason)).unwrap_or(REASONS);
    if reason < REASONS { reason } else { 0 }
}

fn reason_name(number: usize) -> &'static str {
    let reason = i32::try_from(number).unwrap_or_default();
    match ErrorReason::try_from(reason) {
        Ok(ErrorReason::Unspecified) | Err(_) => "",
        Ok(reason) => status::short_name(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: &[&str] = &["Get", "Store"];

    fn figures() -> Arc<CallFigures> {
        Arc::new(CallFigures::new("a.Service", METHODS))
    }

    fn seen(figures: &CallFigures) -> Vec<(&str, &str, &str, u64)> {
        let ended = figures.ended();
        ended.map(|e| (e.rpc, e.code, e.reason, e.calls)).collect()
    }

    #[test]
    fn a_call_counts_as_what_its_caller_is_told() {
        let figures = figures();
        let begun = || figures.begun(1, CallerClass::None, Instant::now());
        begun().told(&Response::new(Body::empty()));
        let refusal = status::from_error(&Error::RowNotFound).into_http();
        begun().told(&refusal);
        let by_tonic = Status::unimplemented("no such compression").into_http();
        begun().told(&by_tonic);
        drop(begun());
        figures.refused(0, CallerClass::None, &Error::Overloaded);
        let expected = [
            ("Get", "RESOURCE_EXHAUSTED", "OVERLOADED", 1),
            ("Store", "OK", "", 1),
            ("Store", "CANCELLED", "", 1),
            ("Store", "NOT_FOUND", "ROW_NOT_FOUND", 1),
            ("Store", "UNIMPLEMENTED", "", 1),
        ];
        assert_eq!(seen(&figures), expected);
        let took: Vec<_> = figures
            .took()
            .map(|(rpc, took)| (rpc, took.count()))
            .collect();
        assert_eq!(took, [("Get", 0), ("Store", 4)], "a refusal took no time");
    }

    #[test]
    fn no_method_that_is_made_up_has_a_number_of_its_own() {
        let figures = figures();
        assert_eq!(figures.method("/a.Service/Store"), Some((1, "Store")));
        for at in 0..1000 {
            assert_eq!(figures.method(&format!("/a.Service/Made{at}")), None);
            figures.unknown(CallerClass::None);
        }
        assert_eq!(seen(&figures), [("other", "UNIMPLEMENTED", "", 1000)]);
    }

    #[test]
    fn a_reason_that_is_made_up_has_no_number_either() {
        let mut details = tonic_types::ErrorDetails::new();
        details.set_error_info("MADE_UP", "", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::Aborted, "", details);
        let figures = figures();
        figures
            .begun(0, CallerClass::None, Instant::now())
            .told(&status.into_http());
        assert_eq!(seen(&figures), [("Get", "ABORTED", "", 1)]);
    }

    #[test]
    fn there_is_room_for_each_reason_and_code() {
        let reasons = (0..REASONS + 100).filter(|number| {
            i32::try_from(*number).is_ok_and(|number| ErrorReason::try_from(number).is_ok())
        });
        assert!(reasons.max().unwrap() < REASONS);
        assert_eq!(code_of(Code::Unauthenticated), CODES - 1);
    }
}
