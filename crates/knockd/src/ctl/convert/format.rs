//! What kind of file it is, by what is in it.

use clap::ValueEnum;

/// What can be converted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `knockd.conf`, with commands of a firewall
    Knockd,
    /// fwknop's `access.conf`
    Fwknop,
    /// letmein's `letmeind.conf`
    Letmein,
    /// Rules of RouterOS, as `/ip firewall filter export` prints them
    Mikrotik,
    /// Rules with the match `recent`, as `iptables-save` prints them
    IptablesRecent,
    /// Rules with sets of addresses, as `nft list ruleset` prints them
    NftablesSets,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Knockd,
        Self::Fwknop,
        Self::Letmein,
        Self::Mikrotik,
        Self::IptablesRecent,
        Self::NftablesSets,
    ];

    /// What it is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Knockd => "knockd.conf",
            Self::Fwknop => "fwknop's access.conf",
            Self::Letmein => "letmeind.conf",
            Self::Mikrotik => "firewall rules of RouterOS",
            Self::IptablesRecent => "iptables rules with recent",
            Self::NftablesSets => "nftables rules with sets",
        }
    }

    /// The format of a text, if it shows. Sections come first: what commands in them are about is
    /// another matter.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let lines = || {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.starts_with('#'))
        };
        let section = |name: &str| lines().any(|line| line == name);
        let has_sections = lines().any(|line| line.starts_with('[') && line.ends_with(']'));
        let has = |words: &[&str]| lines().any(|line| words.iter().all(|word| line.contains(word)));
        match () {
            () if section("[RESOURCES]") => Some(Self::Letmein),
            () if has_sections => Some(Self::Knockd),
            () if lines().any(is_fwknop) => Some(Self::Fwknop),
            () if has(&["add-src-to-address-list"]) => Some(Self::Mikrotik),
            () if has(&["-A ", "-m recent"]) || has(&["-I ", "-m recent"]) => {
                Some(Self::IptablesRecent)
            }
            () if has(&["saddr", "@"]) && has(&["table ", "{"]) => Some(Self::NftablesSets),
            () => None,
        }
    }
}

/// Each stanza begins with its source (fwknopd(8), ACCESS.CONF VARIABLES).
fn is_fwknop(line: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || c == ':').next() == Some("SOURCE")
}
