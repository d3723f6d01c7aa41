//! Parse, build, run, exit code; nothing else.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use gpu_cost_exporter::args::{Args, Command, LogFormat};
use gpu_cost_exporter::cost::pricing::Date;
use gpu_cost_exporter::explain::Origin;
use gpu_cost_exporter::{allocator, app, clock, explain, pricing_file};

/// `EX_USAGE` of sysexits.h: what was typed or written is wrong, and trying again will not help.
const WRONG_INPUT: u8 = 64;

/// `EX_TEMPFAIL` of sysexits.h: a new container will do better.
const SHUT_OUT: u8 = 75;

fn main() -> ExitCode {
    allocator::settle();
    let args = match Args::read() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    match &args.command {
        Some(Command::Check { file }) => {
            return match pricing_file::check(file, Date::of(clock::wall()), &mut io::stdout()) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(WRONG_INPUT),
                Err(_) => ExitCode::FAILURE,
            };
        }
        Some(Command::Explain { what, url, ledger, output }) => {
            let exporter = || Origin::Exporter(url.clone());
            let origin = ledger.clone().map_or_else(exporter, Origin::File);
            return match ask(explain::answer(what.as_deref(), &origin, (*output).into())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // There is nobody left to tell when the terminal is gone.
                    let _ = writeln!(io::stderr(), "error: {error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        Some(Command::Price(_)) | None => {}
    }
    log(&args);
    if let Some(Command::Price(question)) = args.command.clone() {
        return answer(app::price(args, *question, &mut io::stdout()));
    }
    match serve(args) {
        // The threads that read the driver may hang in it: they are not waited for.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            tracing::error!("{error:#}");
            let code = match () {
                () if error.is::<app::ShutOut>() => SHUT_OUT,
                () if error.is::<app::WrongInput>() => WRONG_INPUT,
                () => 1,
            };
            std::process::exit(code.into())
        }
    }
}

fn serve(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(app::run(args));
    // A thread that writes to a disk which hangs is not waited for either.
    runtime.shutdown_background();
    ended
}

/// Prints what a running exporter answers.
fn ask(answer: impl Future<Output = Result<String, explain::Error>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(answer);
    // Looking up a name may take longer than our patience.
    runtime.shutdown_background();
    match io::stdout().write_all(answer?.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Answers a question about prices. But for an answer that nobody takes, only wrong input has none.
fn answer(answered: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(answered)) {
        Ok(()) => 0,
        // Whoever reads it has seen enough.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            // There is nobody left to tell when the terminal is gone.
            let _ = writeln!(io::stderr(), "{error:#}");
            if error.is::<io::Error>() { 1 } else { WRONG_INPUT }
        }
    };
    // The threads that read the driver may hang in it: they are not waited for.
    std::process::exit(code.into())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn refuse(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell when the terminal is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(WRONG_INPUT),
    }
}

fn log(args: &Args) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(args.log_level.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // It would tell a log that cannot be written of that by a panic.
        .log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
