//! The settings of traces.

use std::path::PathBuf;

use crate::config::syntax::{file, number, text};

settings! {
    /// The settings of traces.
    #[derive(Debug)]
    pub(in crate::config) struct TracesSettings in "Traces" {
        /// Collector that gets the spans of traced calls by OTLP over gRPC, as http://HOST:PORT or https://HOST:PORT.
        /// Without it no call is traced
        traces_endpoint: Option<String> = text("URL").optional();
        /// Of how many calls one is traced although no caller asks for it; 1: each, 0: none
        traces_one_in: u32 = number(0..=1_000_000_000).default("0");
        /// Number of calls a second that are traced because their callers' `traceparent` asks for it, over all callers. The
        /// further ones count as if they didn't ask
        traces_of_callers: u32 = number(0..=100_000).default("10");
        /// PEM file with the authorities that vouch for the collector
        traces_ca: Option<PathBuf> = file().optional().otherwise("the system's");
        /// File with a header of each request to the collector, like `authorization: Bearer ...`
        traces_header_file: Option<PathBuf> = file().optional();
        /// Name of the service in spans (`service.name`)
        traces_service: String = text("NAME").default("token-broker");
        /// Name of this process in spans (`service.instance.id`)
        traces_instance: Option<String> = text("NAME").optional().otherwise("drawn at the start");
    }
}
