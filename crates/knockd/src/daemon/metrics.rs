//! Metrics for who asks over HTTP; see [`crate::metrics`].

use super::Failure;
use super::serve::Daemon;
use super::settings::Settings;
use crate::listen;
use crate::log::{Level, Line};
use crate::metrics::server::Server;

/// Listens where these settings say. Where it was asked for, a daemon without metrics does not start.
pub(super) fn open(settings: &Settings) -> Result<Server, Failure> {
    let socket = settings.metrics_socket.clone();
    Server::open(socket, settings.metrics_address).map_err(Failure::Metrics)
}

impl Daemon {
    /// Hears who wants metrics, and gives them.
    pub(super) fn handle_scrapes(&mut self) {
        let mut server = std::mem::take(&mut self.metrics);
        server.handle_readable(listen::now(), || self.status());
        self.metrics = server;
    }

    /// After a reload: what is to be said if metrics would be elsewhere now.
    pub(super) fn doubt_of_metrics(&self) -> Option<Line> {
        let wanted = (
            self.settings.metrics_socket.as_deref(),
            self.settings.metrics_address,
        );
        let text = "metrics stay where they are until the daemon is started anew";
        (self.metrics.places() != wanted).then(|| Line::new(Level::Warning, "metrics", text))
    }
}
