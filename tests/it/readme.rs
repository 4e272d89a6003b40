//! The tour of the README, walked word for word: its configuration, its commands
//! and its requests, in their order, and what they print.
//!
//! Three things of the page are not taken literally. The address that it serves at
//! and that of its upstream are those of this machine's free ports. The header
//! lines that it says "are left out" are left out. And curl is not needed: its
//! command lines are read, and sent.

use std::mem;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::docs::read;
use crate::harness::{Call, Lines, TlsClient, Unreachable, Workdir, await_exit, signal};

/// Where the page's corsac listens, and where nothing does.
const SERVED_AT: &str = "127.0.0.1:8080";
const UPSTREAM: &str = "127.0.0.1:9000";

#[test]
fn the_tour() {
    let page = read("README.md");
    let mut tour = Tour { left_out: left_out(&page), ..Tour::default() };
    for (prose, language, block) in blocks(&page) {
        tour.prose.push_str(&prose);
        match language.as_str() {
            "toml" => tour.configuration = block,
            "console" => tour.console(&block),
            _ => {}
        }
    }
    assert!(tour.commands >= 7, "only {} commands were found", tour.commands);
    assert_eq!(tour.mistakes, 2, "mistakes that the text tells to make");
    let facts: Vec<&str> =
        page.split('`').filter(|code| code.starts_with('"') && code.contains("\":")).collect();
    assert!(!facts.is_empty(), "the page quotes the access log");
    let serving = tour.serving.as_ref().unwrap();
    let logged = |lines: &[String]| {
        let line = lines.iter().find(|line| line.starts_with('{'))?;
        Some(facts.iter().all(|fact| line.contains(fact)))
    };
    assert_eq!(serving.printed.await_some(logged), Ok(true), "{}", serving.printed.text());
    tour.stop();
}

/// The blocks of code, each with the text before it, and its language.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut parts = page.split("```");
    let mut blocks = Vec::new();
    while let (Some(prose), Some(block)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push((prose.to_owned(), language.to_owned(), text.to_owned()));
    }
    blocks
}

/// The names in ``(`Date`, `Connection` and `X-Request-Id` are left out.)``
fn left_out(page: &str) -> Vec<String> {
    let (before, _) = page.split_once(" are left out").expect("the page says what it leaves out");
    let names = before.rsplit('(').next().unwrap_or_default();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Someone on the way through the page.
#[derive(Default)]
struct Tour {
    folder: Option<Workdir>,
    upstream: Option<Unreachable>,
    /// What was read since the last command.
    prose: String,
    configuration: String,
    /// Header lines that the page leaves out.
    left_out: Vec<String>,
    serving: Option<Serving>,
    commands: usize,
    mistakes: usize,
}

/// A command that goes on while others run in another terminal.
struct Serving {
    child: Child,
    printed: Lines,
    address: String,
}

impl Tour {
    /// A block of commands, each followed by what it prints.
    fn console(&mut self, block: &str) {
        for part in format!("\n{block}").split("\n$ ").skip(1) {
            let (command, expected) = part.split_once('\n').unwrap();
            self.commands += 1;
            let prose = mem::take(&mut self.prose);
            let printed = match command.split(' ').take(2).collect::<Vec<_>>()[..] {
                ["curl", _] => self.request(command),
                ["corsac", "run" | "demo"] => self.serve(command, expected.lines().count()),
                ["corsac", _] => self.run(command, &prose),
                _ => panic!("this test does not know how to run `{command}`"),
            };
            assert_eq!(printed.trim_end(), expected.trim_end(), "$ {command}");
        }
    }

    /// A command that ends. Its exit code is 0, unless the text says another.
    fn run(&mut self, command: &str, prose: &str) -> String {
        self.write(prose);
        let output = shell(self.folder(), command).output().unwrap();
        let said = prose.split_once("exit code is ").and_then(|(_, code)| code.chars().next());
        let expected = said.and_then(|code| code.to_digit(10)).unwrap_or(0);
        assert_eq!(output.status.code(), Some(expected.cast_signed()), "$ {command}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that goes on; returns what it prints first. The one before it is
    /// ended as the page tells, by Ctrl-C.
    fn serve(&mut self, command: &str, lines: usize) -> String {
        self.stop();
        self.write("");
        let is_demo = command.starts_with("corsac demo");
        let free = if is_demo { " --listen 127.0.0.1:0" } else { "" };
        let command = format!("exec {command}{free}");
        let mut child = shell(self.folder(), &command).spawn().unwrap();
        let printed = Lines::of(child.stdout.take().unwrap());
        let first = printed.await_some(|all| Some(all.get(..lines)?.join("\n")));
        let first = first.unwrap_or_else(|all| panic!("{lines} lines expected:\n{all}"));
        let (_, address) = first.split_once("127.0.0.1:").expect("it says where it listens");
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let address = format!("127.0.0.1:{port}");
        let first = first.replace(&address, SERVED_AT);
        self.serving = Some(Serving { child, printed, address });
        first
    }

    fn stop(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            signal(&serving.child, "INT");
            let code = await_exit(&mut serving.child, || serving.printed.text());
            assert_eq!(code, Some(0), "after Ctrl-C");
        }
    }

    /// Sends what curl would, and prints what `curl -i` would.
    fn request(&self, command: &str) -> String {
        let serving = self.serving.as_ref().expect("corsac serves");
        let (mut method, mut headers, mut url) = ("GET".to_owned(), Vec::new(), None);
        let mut words = words(command).into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-i" | "-ik" => {}
                "-X" => method = words.next().unwrap(),
                "-H" => headers.push(words.next().unwrap()),
                _ => url = Some(word),
            }
        }
        let url = url.unwrap();
        let over_tls = url.starts_with("https://");
        let target = url.replace(&format!("https://{SERVED_AT}"), "");
        let target = target.replace(&format!("http://{SERVED_AT}"), "");
        assert!(target.starts_with('/'), "{command}");
        let lines = headers.iter().map(|line| line.split_once(": ").unwrap());
        let address = serving.address.parse().unwrap();
        let call = Call::new(address, &method, &target).headers(lines);
        let answer = if over_tls {
            call.send_over(&mut TlsClient::new().connect(address, Some("localhost")))
        } else {
            call.send()
        };
        let mut printed = vec![answer.start.clone()];
        let shown = |name: &str| !self.left_out.iter().any(|out| out.eq_ignore_ascii_case(name));
        let shown = answer.headers.iter().filter(|(name, _)| shown(name));
        printed.extend(shown.map(|(name, value)| format!("{name}: {value}")));
        printed.extend([String::new(), answer.text()]);
        printed.join("\n").replace(&serving.address, SERVED_AT)
    }

    /// Writes `corsac.toml`, with the mistakes that the text tells to make:
    /// `` `KEY` in line N ``, or `` `KEY = VALUE` in line N ``.
    fn write(&mut self, prose: &str) {
        let mut lines: Vec<String> = self.configuration.lines().map(str::to_owned).collect();
        let prose = prose.replace('\n', " ");
        let mut parts = prose.split('`').skip(1);
        while let (Some(code), Some(after)) = (parts.next(), parts.next()) {
            let Some(number) = after.strip_prefix(" in line ") else { continue };
            let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
            let line = &mut lines[digits.parse::<usize>().unwrap() - 1];
            let key = line.split([' ', '=']).next().unwrap().to_owned();
            *line = if code.contains('=') { code.to_owned() } else { line.replace(&key, code) };
            self.mistakes += 1;
        }
        let upstream = self.upstream.get_or_insert_with(Unreachable::refusing).address();
        let text = lines
            .join("\n")
            .replace(SERVED_AT, "127.0.0.1:0")
            .replace(UPSTREAM, &upstream.to_string());
        self.folder.get_or_insert_with(Workdir::new).write("corsac.toml", text);
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command as a terminal runs it: `corsac` is found by `PATH`, and both its
/// outputs come in one stream.
fn shell(folder: &Path, command: &str) -> Command {
    let binaries = Path::new(env!("CARGO_BIN_EXE_corsac")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{command} 2>&1")]).current_dir(folder).env_remove("RUST_LOG");
    shell.env("PATH", format!("{}:{path}", binaries.display()));
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    shell
}

/// The words of a command line whose quotes are all `'`.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (at, part) in line.split('\'').enumerate() {
        let quoted = at % 2 == 1;
        for (nth, piece) in part.split(if quoted { '\'' } else { ' ' }).enumerate() {
            if nth > 0 {
                words.push(String::new());
            }
            words.last_mut().unwrap().push_str(piece);
        }
    }
    words
}
