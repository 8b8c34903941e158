//! Logging to stderr.

use std::io::{self, IsTerminal};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{LogFormat, LogSettings},
    stderr::Stderr,
};

/// Libraries that speak with whoever connects. What they warn of is what the other end did, and it may do so without end.
const WITH_STRANGERS: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tonic"];

/// Returns what is logged at this level. Of libraries it is no more than warnings: their debug lines may quote requests.
fn filter(level: Level) -> Targets {
    let errors = level.min(Level::ERROR);
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_default(LevelFilter::from_level(level.min(Level::WARN)))
        .with_targets(WITH_STRANGERS.map(|library| (library, errors)))
}

/// Starts logging. Does nothing if a subscriber is already set, as in a test.
pub(super) fn init(log: LogSettings) {
    let filter = filter(log.log_level);
    let json = match log.log_format {
        Some(format) => format == LogFormat::Json,
        None => !io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
    let layer = if json {
        // What the line is about: the tenant, if there are several.
        layer.json().with_span_list(false).boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_nothing_logged_by_libraries() {
        for level in [Level::ERROR, Level::INFO, Level::TRACE] {
            let filter = filter(level);
            assert!(filter.would_enable("token_broker::server", &level));
            let others = filter.would_enable("opentelemetry", &Level::WARN);
            assert_eq!(others, level >= Level::WARN);
            for target in [
                "h2::proto::ping_pong",
                "hyper::proto::h1",
                "rustls::common_state",
            ] {
                assert!(filter.would_enable(target, &Level::ERROR));
                assert!(!filter.would_enable(target, &Level::WARN), "{target}");
            }
        }
    }
}
