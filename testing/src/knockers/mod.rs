//! Scenarios with real programs: clients, scanners, firewalls, ssh. Each is a function that fails
//! with a sentence.

mod clients;
mod crowds;
mod deaths;
mod endings;
mod floods;
mod links;
mod recipes;
mod stress;
mod ways;

use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::live::installed;

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub knockd: PathBuf,
    /// Our client.
    pub knock: PathBuf,
}

/// What a scenario does.
type Run = dyn Fn(&Programs) -> Result<()> + Send + Sync;

/// What the kernel lacks, if anything.
type Probe = fn() -> Option<&'static str>;

/// One scenario.
#[derive(Clone)]
pub struct Scenario {
    /// What it proves.
    pub name: String,
    /// The programs that must be installed.
    pub needs: Vec<&'static str>,
    /// Only the machine's root can run it.
    pub root: bool,
    /// Nothing else must run meanwhile: it is about how much the machine can do.
    pub alone: bool,
    probe: Option<Probe>,
    run: Arc<Run>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scenario {
    fn new(
        name: impl Into<String>,
        needs: &[&'static str],
        run: impl Fn(&Programs) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            needs: needs.to_vec(),
            root: false,
            alone: false,
            probe: None,
            run: Arc::new(run),
        }
    }

    fn for_root(self) -> Self {
        Self { root: true, ..self }
    }

    fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    /// Needs something of the kernel.
    fn with(self, probe: Probe) -> Self {
        Self {
            probe: Some(probe),
            ..self
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn run(&self, programs: &Programs) -> Result<()> {
        (self.run)(programs)
    }

    /// What this machine lacks for it.
    #[must_use]
    pub fn lacks(&self, is_root: bool) -> Option<String> {
        if self.root && !is_root {
            return Some("the machine's root".into());
        }
        let missing = self.needs.iter().find(|name| installed(name).is_none());
        let lacks = |probe: Probe| probe().map(str::to_owned);
        missing
            .map(|name| (*name).to_owned())
            .or_else(|| self.probe.and_then(lacks))
    }
}

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    // The longest first.
    let mut all = recipes::scenarios();
    all.extend(endings::scenarios());
    all.extend(stress::scenarios());
    all.extend(floods::scenarios());
    all.extend(deaths::scenarios());
    all.extend(crowds::scenarios());
    all.extend(clients::scenarios());
    all.extend(links::scenarios());
    all
}
