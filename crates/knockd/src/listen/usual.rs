//! The interface to listen on when nobody named one.

use std::io;

use super::links::Links;

/// The interface to listen on when nobody named one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DefaultInterface {
    /// `eth0`, as in the original, since it is there.
    Eth0,
    /// There is no `eth0`; this one has the default route.
    DefaultRoute(String),
    /// There is neither: every interface.
    Any,
}

impl DefaultInterface {
    /// Its name, as [`super::Setup::interfaces`] has it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Eth0 => "eth0",
            Self::DefaultRoute(name) => name,
            Self::Any => ANY,
        }
    }
}

/// The name that stands for every interface.
pub const ANY: &str = "any";

/// Finds the interface to listen on when nobody named one.
///
/// # Errors
/// If the kernel's interfaces and routes cannot be listed.
pub fn default_interface() -> io::Result<DefaultInterface> {
    let links = Links::new()?;
    if links.index("eth0").is_some() {
        return Ok(DefaultInterface::Eth0);
    }
    let default = links.of_default_route()?;
    Ok(default.map_or(DefaultInterface::Any, DefaultInterface::DefaultRoute))
}

/// The interface that packets from afar come in at, if there is a default route.
///
/// # Errors
/// If the kernel's interfaces and routes cannot be listed.
pub fn interface_of_default_route() -> io::Result<Option<String>> {
    Links::new()?.of_default_route()
}
