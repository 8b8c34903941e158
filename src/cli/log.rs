//! Logging to stderr.

use std::io::{self, IsTerminal};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{LogFormat, LogSettings},
    stderr::Stderr,
};

/// Starts logging. Does nothing if a subscriber is already set, as in a test.
pub(super) fn init(log: LogSettings) {
    // Libraries log warnings and errors only: their debug lines may quote requests.
    let filter = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), log.log_level)
        .with_default(LevelFilter::from_level(log.log_level.min(Level::WARN)));
    let json = match log.log_format {
        Some(format) => format == LogFormat::Json,
        None => !io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
    let layer = if json {
        layer.json().boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .ok();
}
