//! Lines for `~/.ssh/config`.

/// The two forms, for the profile `host`. Neither is quiet: ssh throws away what the program prints,
/// and leaves on the terminal why a door did not open.
#[must_use]
pub fn stanza(host: &str) -> String {
    format!(
        "# Knock, then let ssh connect. For scp, sftp, rsync, git and ansible as well.\n\
         Match originalhost {host} exec \"knock {host}\"\n\
         \n\
         # Or instead: knock, and pass ssh's connection on, from the address that was let in.\n\
         # It survives doors that open slowly. Not together with the above.\n\
         #Host {host}\n\
         #    ProxyCommand knock connect {host} %p\n"
    )
}
