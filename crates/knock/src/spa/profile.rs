//! What this user knows of a host: one file for each, which `knock enroll` writes.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use knock_spa::{DoorName, ServerPublic, SiteKey};
use serde::{Deserialize, Serialize};

use super::ssh_settings::SshSettings;
use crate::store::{self, StoreError};

/// The text of a profile: what `knockctl profile` prints, the host's name, the key that was last let
/// in, and what ssh says of the host.
#[derive(Debug, Deserialize, Serialize)]
struct Text {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    addresses: Vec<IpAddr>,
    port: NonZeroU16,
    epoch: u32,
    server: String,
    site: String,
    doors: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ssh: Option<SshSettings>,
}

/// What is known of a host.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The host's name, as it was enrolled.
    pub host: String,
    /// Its addresses, as it knows them: for a host that has no name.
    pub addresses: Vec<IpAddr>,
    /// The UDP port that is knocked at.
    pub port: NonZeroU16,
    /// The number of its keys.
    pub epoch: u32,
    /// Its keys.
    pub keys: knock_spa::Profile,
    /// Its doors, the first of which is meant where none is named.
    pub doors: Vec<DoorName>,
    /// The fingerprint of the SSH key that was last let in: it is tried first.
    pub key: Option<String>,
    /// What ssh said of the host when it was last asked.
    pub ssh: Option<SshSettings>,
}

/// Why there is no profile.
#[derive(Debug)]
pub enum ProfileError {
    /// The file cannot be had.
    Store(StoreError),
    /// It is not what `knockctl profile` prints.
    Text(String),
}

/// What is wrong; lower case, no full stop.
impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Text(why) => write!(f, "not a profile: {why}"),
        }
    }
}

impl std::error::Error for ProfileError {}

impl From<StoreError> for ProfileError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Profile {
    /// Reads what `knockctl profile` prints, or what [`Profile::save`] has written.
    ///
    /// # Errors
    /// If a field is missing or is none that can be.
    pub fn parse(text: &[u8], host: &str) -> Result<Self, ProfileError> {
        let bad = |why: String| ProfileError::Text(why);
        let text: Text = serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
        if text.version != 1 {
            return Err(bad(format!("version {} is not known here", text.version)));
        }
        let key = |name: &str, field: &str| -> Result<[u8; 32], ProfileError> {
            let bytes = Base64::decode_vec(field).ok();
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| bad(format!("{name} is not the base64 of 32 bytes")))
        };
        let mut doors = Vec::with_capacity(text.doors.len());
        for name in &text.doors {
            let door = DoorName::new(name);
            doors.push(door.map_err(|why| bad(format!("door '{}': {why}", name.escape_debug())))?);
        }
        Ok(Self {
            host: text.host.unwrap_or_else(|| host.to_owned()),
            addresses: text.addresses,
            port: text.port,
            epoch: text.epoch,
            keys: knock_spa::Profile {
                server: ServerPublic(key("server", &text.server)?),
                site: SiteKey::from_bytes(key("site", &text.site)?),
            },
            doors,
            key: text.key,
            ssh: text.ssh,
        })
    }

    fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let text = Text {
            version: 1,
            host: Some(self.host.clone()),
            addresses: self.addresses.clone(),
            port: self.port,
            epoch: self.epoch,
            server: Base64::encode_string(&self.keys.server.0),
            site: Base64::encode_string(self.keys.site.expose()),
            doors: self.doors.iter().map(ToString::to_string).collect(),
            key: self.key.clone(),
            ssh: self.ssh.clone(),
        };
        let mut bytes = serde_json::to_vec(&text)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The profile of `host` in the user's configuration.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn load(host: &str) -> Result<Self, ProfileError> {
        Self::load_from(&path(host)?, host)
    }

    /// The profile in this file, of `host` if it does not say of whom.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub fn load_from(path: &Path, host: &str) -> Result<Self, ProfileError> {
        let text = store::read(path)?;
        Self::parse(&text, host)
            .map_err(|error| ProfileError::Text(format!("{}: {error}", path.display())))
    }

    /// Writes the profile of `host`, whole or not at all, for this user alone. Gives its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, host: &str) -> Result<PathBuf, ProfileError> {
        let path = path(host)?;
        self.save_to(&path)?;
        Ok(path)
    }

    fn save_to(&self, path: &Path) -> Result<(), ProfileError> {
        let text = self.to_text();
        let text = text.map_err(|error| ProfileError::Text(error.to_string()))?;
        Ok(store::write(path, &text)?)
    }
}

/// The file of `host`.
///
/// # Errors
/// If the name can be no host's, or there is no folder.
pub fn path(host: &str) -> Result<PathBuf, ProfileError> {
    Ok(store::path(host, "json")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"version":1,"addresses":["203.0.113.5","2001:db8::5"],"port":51443,"epoch":1,"server":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","site":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=","doors":["ssh","web"]}"#;

    #[test]
    fn what_knockctl_prints_is_read() {
        let profile = Profile::parse(PRINTED.as_bytes(), "host").unwrap();
        assert_eq!(profile.host, "host");
        assert_eq!(profile.addresses.len(), 2);
        assert_eq!(profile.port.get(), 51443);
        assert_eq!(profile.keys.server.0, [1; 32]);
        assert_eq!(profile.keys.site.expose(), &[2; 32]);
        assert_eq!(profile.doors.first().map(DoorName::as_str), Some("ssh"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, why) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("AgICAgI=", "", "site is not"),
            ("AQEBAQE=", "AQEBAQF=", "server is not"),
            ("\"web\"", "\"w b\"", "door 'w b'"),
            ("51443", "0", "nonzero"),
            ("\"epoch\":1,", "", "epoch"),
        ] {
            let text = PRINTED.replace(from, to);
            let error = Profile::parse(text.as_bytes(), "host").unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn what_was_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.json");
        let mut profile = Profile::parse(PRINTED.as_bytes(), "host").unwrap();
        profile.key = Some("SHA256:x".to_owned());
        profile.save_to(&path).unwrap();
        let read = Profile::load_from(&path, "other").unwrap();
        assert_eq!(read.host, "host");
        assert_eq!(read.key, profile.key);
        assert_eq!(read.to_text().unwrap(), profile.to_text().unwrap());
    }
}
