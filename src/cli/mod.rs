//! The commands. One definition makes the parser, the help, the man page and the
//! completions.

mod check;
mod configuration;
mod demo;
mod diff;
mod explain;
mod live;
mod output;
mod routes;
mod run;
mod socket;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{cors, explain::Asked, metrics};
use output::{Exit, Format, NO, complain};
use socket::Socket;

/// Where the configuration is looked for, in this order.
const DEFAULT_PATHS: [&str; 2] = ["/etc/corsac/corsac.toml", "conf/corsac.toml"];

#[derive(Debug, Parser)]
#[command(
    name = "corsac",
    version,
    long_version = long_version(),
    about = "An edge proxy that gets CORS right, and says why",
    after_help = "Exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 no running corsac.\n\
                  `corsac demo` shows what it does; `corsac check` is where to begin."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, in the foreground
    #[command(override_usage = "corsac run [--config PATH]")]
    Run {
        #[command(flatten)]
        config: ConfigOption,
        /// Replace the process at the other end of stdin; `corsac upgrade` says this
        #[arg(long, hide = true)]
        takeover: Option<run::TakeoverRole>,
    },
    /// Say everything that is wrong with a configuration
    Check {
        /// The configuration [default: /etc/corsac/corsac.toml, else conf/corsac.toml]
        path: Option<PathBuf>,
        /// Warnings count as errors
        #[arg(long)]
        deny_warnings: bool,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Say what becomes of a request, step by step, and what a browser makes of it
    #[command(after_help = "Exit codes: 0 the page may read the answer, or CORS has no say; \
                            1 a browser blocks it, or the configuration does not load; \
                            2 wrong usage.")]
    Explain {
        /// The method that the page uses
        method: http::Method,
        /// The URL that the page asks for
        #[arg(value_parser = explain::url)]
        url: http::Uri,
        /// A header of the request, as "name: value"; may be repeated
        #[arg(short = 'H', long = "header", value_parser = explain::header)]
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
        /// The page sends cookies: `credentials: "include"`
        #[arg(long)]
        credentials: bool,
        /// Ask the running corsac, by the configuration that it serves
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        running: RunningOption,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Show the routes in the order in which they are tried
    Routes {
        #[command(flatten)]
        config: ConfigOption,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Make a running corsac read its configuration again
    Reload {
        /// Wait, and say how it went
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        running: RunningOption,
    },
    /// Replace a running corsac without losing a request
    Upgrade {
        /// The new binary [default: where the running one was started from]
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// Wait, and say how it went
        #[arg(long)]
        wait: bool,
        /// How long the new process may take to check the configuration, and again to
        /// serve by it
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = live::duration)]
        timeout: Duration,
        #[command(flatten)]
        running: RunningOption,
    },
    /// Show what a running corsac says of itself
    Status {
        #[command(flatten)]
        running: RunningOption,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Say what changes from one configuration to another, by meaning
    Diff {
        /// The configuration before
        before: PathBuf,
        /// The configuration after
        after: PathBuf,
        /// Exit with 1 if anything changes
        #[arg(long)]
        exit_code: bool,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Run the tests that a configuration carries
    Test {
        #[command(flatten)]
        config: ConfigOption,
        #[command(flatten)]
        format: FormatOption,
    },
    /// Serve an example with an origin of its own, and print requests to try
    Demo {
        /// Where to listen
        #[arg(
            long,
            value_name = "ADDRESS",
            default_value = demo::LISTEN,
            value_parser = demo::address
        )]
        listen: std::net::SocketAddr,
        /// Over TLS, by a certificate made for this run
        #[arg(long, conflicts_with = "tour")]
        tls: bool,
        /// Send the requests, show the answers, and end
        #[arg(long)]
        tour: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

#[derive(Debug, clap::Args)]
struct ConfigOption {
    /// The configuration [default: /etc/corsac/corsac.toml, else conf/corsac.toml]
    #[arg(short = 'c', long = "config", value_name = "PATH")]
    path: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RunningOption {
    /// Its admin socket [default: the one that the configuration names]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

impl RunningOption {
    fn socket(self) -> io::Result<Socket> {
        match self.socket {
            Some(socket) => Ok(Socket::at(socket)),
            None => Socket::of(&path(self.config.path)?),
        }
    }
}

#[derive(Debug, clap::Args)]
struct FormatOption {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        // The reader of a pipe has enough, as in `corsac routes | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            complain(&error.to_string());
            ExitCode::from(3)
        }
        Err(error) => {
            complain(&error.to_string());
            NO
        }
    }
}

fn dispatch(command: Command) -> Exit {
    match command {
        Command::Run { config, takeover } => run::run(&path(config.path)?, takeover),
        Command::Check { path: given, deny_warnings, format } => {
            check::check(&path(given)?, deny_warnings, format.format)
        }
        Command::Explain { method, url, headers, credentials, live, running, format } => {
            let asked = Asked { method, url, headers, credentials };
            if live {
                explain::explain_live(&running.socket()?, &asked, format.format)
            } else {
                explain::explain(&path(running.config.path)?, &asked, format.format)
            }
        }
        Command::Reload { wait, running } => live::reload(&running.socket()?, wait),
        Command::Upgrade { binary, wait, timeout, running } => {
            live::upgrade(&running.socket()?, binary, wait, timeout)
        }
        Command::Status { running, format } => live::status(&running.socket()?, format.format),
        Command::Routes { config, format } => routes::routes(&path(config.path)?, format.format),
        Command::Diff { before, after, exit_code, format } => {
            diff::diff(&before, &after, exit_code, format.format)
        }
        Command::Test { config, format } => check::test(&path(config.path)?, format.format),
        Command::Demo { listen, tls, tour } => demo::demo(listen, tls, tour),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "corsac", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => print_man().map(|()| ExitCode::SUCCESS),
    }
}

/// Prints the page of `corsac`, and after it those of its commands.
fn print_man() -> io::Result<()> {
    let mut corsac = Cli::command().disable_help_subcommand(true);
    corsac.build();
    let mut out = io::stdout().lock();
    for command in std::iter::once(&corsac).chain(corsac.get_subcommands()) {
        clap_mangen::Man::new(command.clone()).render(&mut out)?;
    }
    Ok(())
}

/// The configuration that was named, else the first default that there is.
fn path(given: Option<PathBuf>) -> io::Result<PathBuf> {
    let default = || DEFAULT_PATHS.iter().map(PathBuf::from).find(|path| path.exists());
    given.or_else(default).ok_or_else(|| {
        let [first, second] = DEFAULT_PATHS;
        let says = format!("no configuration is named, and neither {first} nor {second} is there; name one, or see `corsac demo`");
        io::Error::new(io::ErrorKind::NotFound, says)
    })
}

fn long_version() -> String {
    format!(
        "{}\nbuild: {}\npublic-suffix list of {}",
        env!("CARGO_PKG_VERSION"),
        metrics::BUILD,
        cors::PUBLIC_SUFFIX_LIST_DATE
    )
}
