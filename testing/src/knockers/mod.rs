//! Scenarios with real programs: clients, scanners, firewalls, ssh. Each is a function that fails
//! with a sentence.

mod clients;
mod crowds;
mod deaths;
mod endings;
mod floods;
mod links;
mod recipes;
pub(crate) mod sealed;
mod stress;
mod ways;

use crate::scenario::{Programs, Scenario};

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    // The longest first.
    let mut all = recipes::scenarios();
    all.extend(sealed::scenarios());
    all.extend(endings::scenarios());
    all.extend(stress::scenarios());
    all.extend(floods::scenarios());
    all.extend(deaths::scenarios());
    all.extend(crowds::scenarios());
    all.extend(clients::scenarios());
    all.extend(links::scenarios());
    all
}
