//! How many calls ended how, and how long they took.
//!
//! It counts what the caller is told: the code and reason of the response as it leaves, whoever made it. No name
//! that a caller made up gets a number of its own.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tonic::Code;

use super::{status, told::Told};
use crate::{
    access::{Class, Rpc},
    error::Error,
    meter::{Count, Distribution, Times},
    proto::v1::ErrorReason,
};

/// The name of all methods that no service has, and of their service.
const OTHER: &str = "other";
/// How many codes gRPC has.
const CODES: usize = 17;
/// For how many reasons there is room. The numbers of those in the proto are below.
const REASONS: usize = 64;

/// The calls of one tenant.
#[derive(Debug)]
pub struct CallFigures {
    /// In the order of [`Rpc::ALL`].
    rpcs: Box<[OfRpc]>,
    /// Those of methods that no service has.
    unknown: Count,
}

#[derive(Debug, Default)]
struct OfRpc {
    took: Times,
    /// By class of the caller, by its [index](Class::index), and by code.
    ended: [[OnceLock<Box<Reasons>>; CODES]; Class::COUNT],
}

/// By the number of the reason. 0 is for calls without one.
#[derive(Debug)]
struct Reasons([Count; REASONS]);

/// How many calls ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The service without its package, or `other`.
    pub service: &'static str,
    /// The method, or `other`.
    pub rpc: &'static str,
    /// Who called.
    pub class: Class,
    /// The code, as the gRPC specification spells it.
    pub code: &'static str,
    /// The reason, or nothing where there is none.
    pub reason: &'static str,
    /// How many.
    pub calls: u64,
}

impl Default for CallFigures {
    fn default() -> Self {
        Self {
            rpcs: Rpc::ALL.iter().map(|_| OfRpc::default()).collect(),
            unknown: Count::new(),
        }
    }
}

impl CallFigures {
    /// Returns how many calls ended in which ways, for each way in which any did.
    pub fn ended(&self) -> impl Iterator<Item = Ended> {
        let unknown = Ended {
            service: OTHER,
            rpc: OTHER,
            class: Class::None,
            code: status::name(Code::Unimplemented),
            reason: "",
            calls: self.unknown.get(),
        };
        let unknown = (unknown.calls > 0).then_some(unknown);
        let rpcs = Rpc::ALL.iter().zip(&self.rpcs);
        rpcs.flat_map(|(rpc, of)| of.ended(*rpc)).chain(unknown)
    }

    /// Returns how long the calls of each method took that were admitted.
    pub fn took(&self) -> impl Iterator<Item = (Rpc, Distribution)> {
        let rpcs = Rpc::ALL.iter().copied().zip(&self.rpcs);
        rpcs.map(|(rpc, of)| (rpc, of.took.get()))
    }

    /// Counts a call of a method that no service has.
    pub(super) fn unknown(&self) {
        self.unknown.up();
    }

    /// Counts a call that was refused before it began.
    pub(super) fn refused(&self, rpc: Rpc, class: Class, error: &Error) {
        let (code, reason) = status::code_and_reason(error);
        self.rpcs[rpc as usize].count(class, code_of(code), reason_of(reason));
    }

    /// Begins to measure a call that is refused. How long that takes isn't noted.
    pub(super) fn refusing(self: &Arc<Self>, rpc: Rpc, class: Class) -> Measured {
        Measured {
            figures: Arc::clone(self),
            rpc,
            class,
            started: None,
            is_told: false,
        }
    }

    /// Begins to measure a call that arrived at `started`.
    pub(super) fn begun(self: &Arc<Self>, rpc: Rpc, class: Class, started: Instant) -> Measured {
        Measured {
            figures: Arc::clone(self),
            rpc,
            class,
            started: Some(started),
            is_told: false,
        }
    }
}

impl OfRpc {
    fn count(&self, class: Class, code: usize, reason: usize) {
        let reasons = self.ended[class.index()][code].get_or_init(Box::default);
        reasons.0[reason].up();
    }

    fn ended(&self, rpc: Rpc) -> impl Iterator<Item = Ended> {
        let classes = Class::all().zip(&self.ended);
        let codes = classes.flat_map(|(class, codes)| {
            let codes = codes.iter().enumerate();
            codes.filter_map(move |(code, reasons)| Some((class, code, reasons.get()?)))
        });
        codes.flat_map(move |(class, code, reasons)| {
            let reasons = reasons.0.iter().map(Count::get).enumerate();
            let seen = reasons.filter(|(_, calls)| *calls > 0);
            seen.map(move |(reason, calls)| Ended {
                service: rpc.service(),
                rpc: rpc.name(),
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
    rpc: Rpc,
    class: Class,
    /// `None` if the call never began.
    started: Option<Instant>,
    is_told: bool,
}

impl Measured {
    /// Takes note of what the caller is told.
    pub fn told(&mut self, told: Told) {
        self.end(code_of(told.code), told.reason.map_or(0, reason_of));
    }

    fn end(&mut self, code: usize, reason: usize) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let rpc = &self.figures.rpcs[self.rpc as usize];
        if let Some(started) = self.started {
            rpc.took.note(started.elapsed());
        }
        rpc.count(self.class, code, reason);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.end(code_of(Code::Cancelled), 0);
    }
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
    use http::Response;
    use tonic::{Status, body::Body};

    use super::*;

    fn seen(figures: &CallFigures) -> Vec<(&str, &str, &str, u64)> {
        let ended = figures.ended();
        ended.map(|e| (e.rpc, e.code, e.reason, e.calls)).collect()
    }

    #[test]
    fn a_call_counts_as_what_its_caller_is_told() {
        let figures = Arc::new(CallFigures::default());
        let begun = || figures.begun(Rpc::Store, Class::None, Instant::now());
        begun().told(Told::by(&Response::new(Body::empty())));
        let refusal = status::from_error(&Error::RowNotFound).into_http();
        begun().told(Told::by(&refusal));
        let by_tonic = Status::unimplemented("no such compression").into_http();
        begun().told(Told::by(&by_tonic));
        drop(begun());
        figures.refused(Rpc::Get, Class::Other, &Error::Overloaded);
        figures.unknown();
        let expected = [
            ("Store", "OK", "", 1),
            ("Store", "CANCELLED", "", 1),
            ("Store", "NOT_FOUND", "ROW_NOT_FOUND", 1),
            ("Store", "UNIMPLEMENTED", "", 1),
            ("Get", "RESOURCE_EXHAUSTED", "OVERLOADED", 1),
            ("other", "UNIMPLEMENTED", "", 1),
        ];
        assert_eq!(seen(&figures), expected);
        let took = figures.took().filter(|(_, took)| took.count() > 0);
        let took: Vec<_> = took.map(|(rpc, took)| (rpc, took.count())).collect();
        assert_eq!(took, [(Rpc::Store, 4)], "a refusal took no time");
    }

    #[test]
    fn each_class_and_rpc_has_numbers_of_its_own() {
        let figures = CallFigures::default();
        for (at, rpc) in Rpc::ALL.iter().enumerate() {
            assert_eq!(*rpc as usize, at);
            for class in Class::all() {
                figures.refused(*rpc, class, &Error::Overloaded);
            }
        }
        let ended: Vec<_> = figures.ended().map(|ended| ended.calls).collect();
        assert_eq!(ended, vec![1; Rpc::ALL.len() * Class::COUNT]);
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
