//! TLS of a launcher: one certificate, shown to controllers, to the peer's launcher and by the admin API alike.
//!
//! Owns what the command line says of it. Reading files and reading them again: `hotspare_tls`.

use hotspare_tls::stream::Expected;
use hotspare_tls::{ClientFiles, Keeper, Pair, Server, ServerFiles};

use crate::Problem;
use crate::args::LauncherArgs;

/// TLS of this launcher, current for as long as it lives.
pub(crate) struct Tls {
    /// What a controller (`wss://`) or the peer (`https://`) must show.
    pub(crate) expected: Expected,
    /// The admin API's; none: it speaks plain HTTP.
    pub(crate) server: Option<Server>,
    /// For the undertaker, which outlives this process and reads them itself.
    pub(crate) files: ClientFiles,
}

impl Tls {
    /// Reads the files; from then on they are read again when they change.
    pub(crate) fn start(args: &LauncherArgs) -> Result<Self, Problem> {
        let pair = match (&args.cert_file, &args.key_file) {
            (Some(cert), Some(key)) => Some(Pair { cert_file: cert.clone(), key_file: key.clone() }),
            _ => None,
        };
        let files = ClientFiles { ca_file: args.ca_file.clone(), pair: pair.clone() };
        let keeper = Keeper::default();
        let problem = |bad: hotspare_tls::Bad| {
            let option = bad.key.replace('_', "-");
            let help = bad.help.map(|help| format!(" ({help})")).unwrap_or_default();
            Problem(format!("--{option}: expected {}, found {}{help}", bad.expected, bad.found))
        };
        let client = keeper.client(files.clone()).map_err(problem)?;
        let server = pair.map(|pair| keeper.server(ServerFiles::of(vec![pair]))).transpose().map_err(problem)?;
        tokio::spawn(keeper.watch(|files, outcome| match outcome {
            Ok(()) => tracing::info!(?files, "certificates were read again"),
            Err(bad) => tracing::warn!(%bad, "certificates were read again and not taken"),
        }));
        Ok(Self { expected: Expected { client, name: None }, server, files })
    }
}
