//! How a line of the log file looks.

use jiff::tz::TimeZone;
use knock_core::config::LogFormat;
use serde::Serialize;

use super::Record;

/// The line of the file for `record`, with its newline.
#[must_use]
pub(super) fn render(format: LogFormat, record: &Record, zone: &TimeZone) -> String {
    let local = record.at.to_zoned(zone.clone());
    match format {
        // KNOCKD.md 1.3: local time, by the minute. Tools parse it.
        LogFormat::Classic => {
            let time = local.strftime("[%Y-%m-%d %H:%M]");
            format!("{time} {}\n", record.message())
        }
        LogFormat::Rfc3339 => {
            let time = local.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
            format!("{time} {}\n", record.message())
        }
        LogFormat::Json => {
            let line = Json {
                time: local.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
                level: record.line.level.name(),
                event: record.line.event,
                door: record.line.door.as_deref(),
                source: record.line.source.map(|s| s.to_string()),
                host: record.host.as_deref(),
                message: record.message(),
            };
            let text = serde_json::to_string(&line).unwrap_or_default();
            format!("{text}\n")
        }
    }
}

/// A line with `log_format = json`.
#[derive(Serialize)]
struct Json<'a> {
    time: String,
    level: &'static str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    message: String,
}
