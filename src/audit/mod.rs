//! The audit trail: one event for each decision and each access to a token (guarantees, section 8).
//!
//! An [`Event`] is a value without secrets: rows, sessions and users are in it by keyed hashes, which [`Names`] makes. A
//! call makes a [`Reservation`] of a place, of which each caller has a [`TrailShare`], before anything is done. It hands the
//! event over before anything is answered. A `desk` collects the events of a thread, and hands them over together. Each
//! destination has a `writer`, a thread that takes all events that wait and writes them as one (and what a `crowd` was refused,
//! as a count): `line` spells them, and
//! `chain` links each line to the one before it. A `sink` is where the lines go: `file`, which is rotated and reopened, or
//! stdout. [`vet()`] looks at the destinations before anything is written, and [`verify`] checks the chain of written files.
//!
//! Nothing here knows gRPC or Redis: who asks, and what for, is told by `rpc`.

mod chain;
mod crowd;
mod desk;
mod entry;
mod error;
mod event;
mod figures;
mod file;
mod flow;
mod line;
mod names;
mod options;
mod queue;
mod share;
mod sink;
mod tail;
mod trail;
pub mod verify;
mod vet;
mod witness;
mod writer;

pub use self::{
    chain::Hash,
    crowd::Known,
    entry::{Reservation, Written},
    error::AuditError,
    event::{Decision, Event, Kind, RowAccess, TokenKinds},
    figures::{Figures, Totals},
    names::{Name, Names},
    options::{AuditOptions, Destination, Duty, KeyProblem, Rotation},
    share::TrailShare,
    trail::Audit,
    vet::vet,
    witness::Witness,
};
