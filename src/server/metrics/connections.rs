//! Connections of callers.

use std::{fmt, sync::Arc};

use super::{Collector, ConnectionFigures, Families};

impl Collector for Arc<ConnectionFigures> {
    fn collect(&self, families: &mut Families<'_>) -> fmt::Result {
        let open = [([], self.open.get())];
        families.gauges(
            "connections_open",
            "Connections of callers that are open",
            open,
        )?;
        for (name, help, count) in [
            (
                "connections_accepted",
                "Connections that were accepted",
                &self.accepted,
            ),
            (
                "connections_waited_for_room",
                "Times that a new connection had to wait, because max-connections was reached",
                &self.waited,
            ),
            (
                "connections_asked_to_leave",
                "Connections that were asked to make room",
                &self.asked_to_leave,
            ),
            (
                "connections_not_accepted",
                "Connections that couldn't be accepted, as when no file descriptor is left",
                &self.failed,
            ),
        ] {
            families.counters(name, help, [([], count.get())])?;
        }
        Ok(())
    }
}
