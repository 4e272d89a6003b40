//! Files that change while they are served.

use std::fs::{create_dir, remove_file, rename};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::harness::{Corsac, DEADLINE};

/// A configuration that answers `says`, with files that it includes.
fn saying(says: &str, include: &str) -> String {
    format!(
        "version = 1\ninclude = {include}\n[listeners.http]\naddress = \"127.0.0.1:0\"\n\
         [server]\nthreads = 1\n{}",
        route("main", says)
    )
}

/// A service that answers `says` at `/NAME`.
fn route(name: &str, says: &str) -> String {
    format!("[services.{name}.routes.r]\npaths = \"/{name}\"\nrespond = {{ body = \"{says}\" }}\n")
}

/// Looks at what is served after each change of a file.
struct Changes<'c> {
    corsac: &'c Corsac,
    served: usize,
}

impl<'c> Changes<'c> {
    fn of(corsac: &'c Corsac) -> Self {
        Self { corsac, served: 0 }
    }

    /// Something has changed: it is served, once.
    #[track_caller]
    fn serve(&mut self, route: &str, expected: &str) {
        self.served += 1;
        self.corsac.await_stderr("serves (a changed file)", self.served);
        let path = format!("/{route}");
        assert_eq!(self.corsac.get(&path).send().text(), expected);
    }
}

#[test]
fn in_whatever_way_it_is_written() {
    let config = |says: &str| saying(says, "\"conf.d/*.toml\"");
    let corsac = Corsac::with(&config("one")).file("conf.d/a.toml", &route("a", "one")).start();
    let mut changes = Changes::of(&corsac);
    let files = corsac.workdir();
    files.write("corsac.toml", config("two"));
    changes.serve("main", "two");
    files.replace("corsac.toml", config("three"));
    changes.serve("main", "three");
    files.replace("conf.d/a.toml", route("a", "two"));
    changes.serve("a", "two");
    files.write("conf.d/b.toml", route("b", "new"));
    changes.serve("b", "new");
    remove_file(corsac.path("conf.d/b.toml")).unwrap();
    changes.serve("b", "404: no route for this host and path\n");
}

/// Logs, swap files of editors, notes: nothing of it is read, however much it changes.
#[test]
fn what_stands_beside_does_not_count() {
    let config = saying("one", "\"conf.d/*.toml\"");
    let setup = Corsac::with(&config).file("conf.d/a.toml", &route("a", "one"));
    let corsac = setup.environment("RUST_LOG", "info,corsac=debug").start();
    let files = corsac.workdir();
    for name in ["access.log", ".corsac.toml.swp", "corsac.toml~", "conf.d/README", "conf.d/x/y"] {
        files.write(name, "beside");
        files.replace(name, "beside");
        remove_file(corsac.path(name)).unwrap();
    }
    // Events come in their order: when this one has come, so have those before.
    files.write("corsac.toml", &config);
    corsac.await_stderr("corsac.toml has changed", 1);
    let said = corsac.stderr();
    let changed =
        said.lines().filter(|line| line.ends_with(" has changed") && !line.contains(": "));
    let main = corsac.path("corsac.toml").canonicalize().unwrap();
    let other = |line: &&str| !line.ends_with(&format!(" {} has changed", main.display()));
    assert_eq!(changed.filter(other).collect::<Vec<_>>(), [""; 0]);
    // At the start, and now.
    corsac.await_stderr("was read (a changed file): nothing has changed", 2);
}

/// Kubernetes mounts a `ConfigMap` as links through a link that it swaps.
#[test]
fn by_the_swap_of_a_config_map() {
    let config = |says: &str| saying(says, "[]");
    let setup = Corsac::with("").file("map/..one/corsac.toml", &config("one"));
    let map = setup.path().join("map");
    symlink("..one", map.join("..data")).unwrap();
    symlink("..data/corsac.toml", map.join("corsac.toml")).unwrap();
    let corsac = setup.start_with("map/corsac.toml");
    let mut changes = Changes::of(&corsac);
    for (before, next) in [("one", "two"), ("two", "three")] {
        corsac.workdir().write(&format!("map/..{next}/corsac.toml"), config(next));
        swap_link(&map, "..data", &format!("..{next}"));
        std::fs::remove_dir_all(map.join(format!("..{before}"))).unwrap();
        changes.serve("main", next);
    }
}

/// Replaces a link in one step.
fn swap_link(folder: &Path, name: &str, target: &str) {
    let fresh = folder.join(format!("{name}.new"));
    symlink(target, &fresh).unwrap();
    rename(fresh, folder.join(name)).unwrap();
}

#[test]
fn where_links_lead() {
    let config = |says: &str| saying(says, "\"conf.d/*.toml\"");
    let setup = Corsac::with("")
        .file("releases/1/corsac.toml", &config("one"))
        .file("elsewhere/a", &route("a", "one"))
        .file("releases/1/conf.d/README", "");
    let root = setup.path().to_owned();
    symlink("releases/1", root.join("current")).unwrap();
    symlink("../../../elsewhere/a", root.join("releases/1/conf.d/a.toml")).unwrap();
    let corsac = setup.start_with("current/corsac.toml");
    let mut changes = Changes::of(&corsac);
    corsac.workdir().write("elsewhere/a", route("a", "two"));
    changes.serve("a", "two");
    corsac.workdir().write("releases/2/corsac.toml", config("two"));
    swap_link(&root, "current", "releases/2");
    changes.serve("main", "two");
    // There from now on, and not where it was.
    corsac.workdir().write("releases/1/corsac.toml", config("old"));
    corsac.workdir().write("releases/2/corsac.toml", config("three"));
    changes.serve("main", "three");
}

#[test]
fn a_folder_that_is_another_one() {
    let config = saying("one", "\"conf.d/*.toml\"");
    let setup = Corsac::with(&config).file("conf.d/a.toml", &route("a", "one"));
    let corsac = setup.file("fresh/a.toml", &route("a", "two")).start();
    let mut changes = Changes::of(&corsac);
    rename(corsac.path("conf.d"), corsac.path("stale")).unwrap();
    rename(corsac.path("fresh"), corsac.path("conf.d")).unwrap();
    changes.serve("a", "two");
    corsac.workdir().write("conf.d/a.toml", route("a", "three"));
    changes.serve("a", "three");
}

#[test]
fn what_was_not_there() {
    let corsac = Corsac::with(&saying("one", "[\"conf.d/*.toml\", \"sites/*/site.toml\"]")).start();
    let mut changes = Changes::of(&corsac);
    corsac.workdir().write("conf.d/a.toml", route("a", "one"));
    changes.serve("a", "one");
    create_dir(corsac.path("sites")).unwrap();
    corsac.workdir().write("sites/b/site.toml", route("b", "one"));
    changes.serve("b", "one");
    corsac.workdir().write("sites/c/site.toml", route("c", "one"));
    changes.serve("c", "one");
}

/// What was refused for want of a file is served when the file has come.
#[test]
fn what_a_refused_configuration_lacks() {
    let corsac = Corsac::with(&saying("one", "[]")).start();
    let cors = "cors = { allow_origins_file = \"lists/origins\" }\n";
    let text = saying("two", "[]")
        .replace("[services.main.", &format!("[services.main]\n{cors}[services.main."));
    corsac.workdir().replace("corsac.toml", text);
    corsac.await_stderr("the configuration is refused (a changed file)", 1);
    corsac.workdir().write("lists/origins", "https://a.example\n");
    Changes::of(&corsac).serve("main", "two");
}

#[test]
fn the_last_write_of_a_burst_counts() {
    let corsac = Corsac::with(&saying("one", "[]")).start();
    for write in 0..50 {
        // Half of them are no configuration.
        let text = if write % 2 == 0 { saying("passing", "[]") } else { "version = ".to_owned() };
        corsac.workdir().write("corsac.toml", text);
    }
    corsac.workdir().write("corsac.toml", saying("last", "[]"));
    let started = Instant::now();
    while corsac.get("/main").send().text() != "last" {
        assert!(started.elapsed() < DEADLINE, "{}", corsac.stderr());
        thread::yield_now();
    }
}
