//! Disk faults by `LD_PRELOAD`: compiles `shim/shim.c`, and keeps the image of what a power cut would leave.
//!
//! The model, and the layout of a shadow directory, are described at the top of `shim/shim.c`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = include_str!("../shim/shim.c");

/// The compiled shim, built once a process with the system's C compiler.
///
/// # Panics
/// Without a C compiler, which `scripts/setup.sh` installs.
#[must_use]
pub fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let source = directory.path().join("shim.c");
        let library = directory.path().join("libshim.so");
        fs::write(&source, SOURCE).expect("the temporary directory is writable");
        let output = Command::new("cc")
            .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler (scripts/setup.sh installs one)");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the shim compiles:\n{errors}");
        (directory, library)
    });
    path
}

/// Faults that come and go while a process runs: what `struct control` of the shim is read from.
#[derive(Debug)]
pub struct Control(PathBuf);

/// What a process meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Before each sync, in milliseconds.
    pub sync_delay_ms: i64,
    /// Syncs of data fail with this error number.
    pub sync_errno: i64,
    /// Writes of data fail with this error number.
    pub write_errno: i64,
    /// Before each write of data, in microseconds.
    pub write_delay_us: i64,
    /// The wall clock is ahead by this many nanoseconds.
    pub clock_shift_ns: i64,
    /// The wall clock stands at this, in nanoseconds since 1970; 0 goes on.
    pub clock_frozen_ns: i64,
}

impl Control {
    /// A sound machine, controlled through a file at that path.
    #[must_use]
    pub fn at(path: PathBuf) -> Control {
        let control = Control(path);
        control.set(Machine::default());
        control
    }

    /// Changes the machine of a running process, and of those that start later.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, machine: Machine) {
        let numbers = [
            machine.sync_delay_ms,
            machine.sync_errno,
            machine.write_errno,
            machine.write_delay_us,
            machine.clock_shift_ns,
            machine.clock_frozen_ns,
        ];
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        // In place, since the process has this file mapped; one write, so that it seldom sees half.
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.0);
        let written = file.and_then(|mut file| file.write_all(&bytes));
        written.expect("a temporary directory is writable");
    }

    /// The variables under which a process obeys.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = self.0.display().to_string();
        vec![
            ("LD_PRELOAD".into(), library().display().to_string()),
            ("QUORATE_SHIM_CONTROL".into(), path),
        ]
    }
}

/// What would be left of a directory if the power went now.
#[derive(Debug)]
pub struct Shadow {
    live: PathBuf,
    image: PathBuf,
}

impl Shadow {
    /// Starts following `live`, whose present content counts as durable. `image` is emptied.
    #[must_use]
    pub fn follow(live: &Path, image: &Path) -> Shadow {
        let shadow = Shadow {
            live: live.to_owned(),
            image: image.to_owned(),
        };
        shadow.take();
        shadow
    }

    /// The variables under which a process keeps the image up to date.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("LD_PRELOAD".into(), library().display().to_string()),
            ("QUORATE_SHIM_DIR".into(), self.live.display().to_string()),
            (
                "QUORATE_SHIM_SHADOW".into(),
                self.image.display().to_string(),
            ),
        ]
    }

    /// The power goes: replaces the directory by its durable image, and follows on from there. Call only while no
    /// process uses it. Returns how many bytes and names were lost.
    ///
    /// # Panics
    /// If the process did something that the model cannot follow.
    pub fn cut_power(&self) -> Lost {
        let warnings = self.image.join("warnings");
        if let Ok(text) = fs::read_to_string(&warnings) {
            panic!("the model of durability does not hold: {text}");
        }
        let before = weigh(&self.live);
        let fresh = self.image.join("restored");
        self.restore(Path::new(""), &fresh);
        fs::remove_dir_all(&self.live).expect("ours to remove");
        fs::rename(&fresh, &self.live).expect("one file system");
        let after = weigh(&self.live);
        self.take();
        Lost {
            bytes: before.0.saturating_sub(after.0),
            names: before.1.saturating_sub(after.1),
        }
    }

    fn restore(&self, relative: &Path, to: &Path) {
        fs::create_dir(to).expect("a fresh path");
        let Ok(listing) = fs::read_to_string(self.listing(relative)) else {
            return; // Its name was synced, its content never.
        };
        for line in listing.lines() {
            let mut parts = line.splitn(4, ' ');
            let mut part = || parts.next().expect("four parts a line");
            let (kind, id, mode, name) = (part(), part(), part(), part());
            let target = to.join(name);
            if kind == "d" {
                self.restore(&relative.join(name), &target);
            } else {
                let bytes = self.image.join("files").join(id);
                match bytes.exists() {
                    true => drop(fs::copy(bytes, &target).expect("readable")),
                    false => fs::write(&target, []).expect("writable"),
                }
            }
            let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("ours");
        }
    }

    /// Makes the image of everything as it is.
    fn take(&self) {
        let _ = fs::remove_dir_all(&self.image);
        for part in ["files", "dirs"] {
            fs::create_dir_all(self.image.join(part)).expect("a temporary directory");
        }
        let mut table = String::new();
        self.take_directory(Path::new(""), &mut table);
        fs::write(self.image.join("table"), table).expect("writable");
    }

    fn take_directory(&self, relative: &Path, table: &mut String) {
        let mut listing = String::new();
        for entry in fs::read_dir(self.live.join(relative)).expect("readable") {
            let entry = entry.expect("readable");
            let metadata = entry.metadata().expect("readable");
            let mode = metadata.mode() & 0o7777;
            let name = entry.file_name().into_string().expect("plain names");
            if metadata.is_dir() {
                writeln!(listing, "d - {mode:o} {name}").expect("into a String");
                self.take_directory(&relative.join(name), table);
            } else {
                let id = table.lines().count() + 1;
                writeln!(table, "{} {id}", metadata.ino()).expect("into a String");
                writeln!(listing, "f {id} {mode:o} {name}").expect("into a String");
                let copy = self.image.join("files").join(id.to_string());
                fs::copy(entry.path(), copy).expect("readable");
            }
        }
        fs::write(self.listing(relative), listing).expect("writable");
    }

    fn listing(&self, relative: &Path) -> PathBuf {
        let flat = relative.display().to_string().replace('/', "|");
        self.image.join("dirs").join(format!("{flat}|"))
    }
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Bytes that had been written and not synced, net of files that came back.
    pub bytes: u64,
    /// Names that had been made and whose directory had not been synced, net.
    pub names: u64,
}

fn weigh(directory: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let metadata = entry.metadata().expect("readable");
        sum.1 += 1;
        if metadata.is_dir() {
            let inner = weigh(&entry.path());
            sum = (sum.0 + inner.0, sum.1 + inner.1);
        } else {
            sum.0 += metadata.len();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a Python program under the shim in `live`, cuts the power and returns what is left, name by name.
    fn left_by(prepare: &[(&str, &str)], program: &str) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let live = directory.path().join("live");
        fs::create_dir(&live).expect("fresh");
        for (name, text) in prepare {
            fs::write(live.join(name), text).expect("writable");
        }
        let shadow = Shadow::follow(&live, &directory.path().join("shadow"));
        let output = Command::new("python3")
            .args(["-c", program])
            .current_dir(&live)
            .envs(shadow.environment())
            .output()
            .expect("python3");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        shadow.cut_power();
        let mut found: Vec<_> = fs::read_dir(&live)
            .expect("restored")
            .map(|entry| {
                let path = entry.expect("readable").path();
                let name = path.file_name().expect("a name").display().to_string();
                (name, fs::read_to_string(path).unwrap_or_default())
            })
            .collect();
        found.sort();
        found
    }

    /// A process that is killed leaves its page cache to the next one; the model has to go on from there. It once forgot
    /// who was who, and gave the next process's files the bytes of the first one's.
    #[test]
    fn a_second_process_goes_on_where_a_killed_one_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let live = directory.path().join("live");
        fs::create_dir(&live).expect("fresh");
        let shadow = Shadow::follow(&live, &directory.path().join("shadow"));
        let run = |program: &str| {
            let mut command = Command::new("python3");
            command.args(["-c", program]).current_dir(&live);
            let status = command.envs(shadow.environment()).status();
            assert!(status.expect("python3").success());
        };
        let make = |name: &str, text: &str| {
            format!(
                "import os\nf=os.open('{name}',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'{text}')\nos.fsync(f)\nos.fsync(os.open('.',os.O_RDONLY))\nos.write(f,b' lost')"
            )
        };
        run(&make("a", "first"));
        run(&make("b", "second"));
        // What the first process had not synced, the third one does.
        run("import os\nos.fsync(os.open('a',os.O_WRONLY))");
        shadow.cut_power();
        let text = |name| fs::read_to_string(live.join(name)).expect("restored");
        assert_eq!(
            (text("a").as_str(), text("b").as_str()),
            ("first lost", "second")
        );
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn bytes_after_the_last_sync_are_lost() {
        let program = "import os\nf=os.open('a',os.O_WRONLY|os.O_APPEND)\nos.write(f,b'two')\nos.fdatasync(f)\nos.write(f,b'three')";
        let found = left_by(&[("a", "one")], program);
        assert_eq!(found, pairs(&[("a", "onetwo")]));
    }

    #[test]
    fn a_name_without_a_directory_sync_is_lost_even_if_its_file_was_synced() {
        let program =
            "import os\nf=os.open('b',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'x')\nos.fsync(f)";
        assert_eq!(left_by(&[("a", "")], program), pairs(&[("a", "")]));
    }

    #[test]
    fn a_name_with_a_directory_sync_stays_and_unsynced_bytes_do_not() {
        let program = "import os\nf=os.open('b',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'x')\nos.fsync(os.open('.',os.O_RDONLY))";
        assert_eq!(left_by(&[], program), pairs(&[("b", "")]));
    }

    #[test]
    fn a_rename_is_undone_without_a_directory_sync_and_kept_with_one() {
        let rename = "import os\nf=os.open('n',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'new')\nos.fsync(f)\nos.rename('n','a')";
        let old = left_by(&[("a", "old")], rename);
        assert_eq!(old, pairs(&[("a", "old")]));
        let synced = format!("{rename}\nos.fsync(os.open('.',os.O_RDONLY))");
        assert_eq!(left_by(&[("a", "old")], &synced), pairs(&[("a", "new")]));
    }

    #[test]
    fn overwriting_in_place_and_cutting_short_are_followed() {
        let program = "import os\nf=os.open('a',os.O_RDWR)\nos.pwrite(f,b'XY',1)\nos.ftruncate(f,4)\nos.fsync(f)\nos.pwrite(f,b'ZZ',0)";
        let found = left_by(&[("a", "abcdef")], program);
        assert_eq!(found, pairs(&[("a", "aXYd")]));
    }

    /// Snapshots and backups are made under another name and renamed. The model once looked for what was durable in them
    /// under the name that they had when it became so, and gave back empty directories.
    #[test]
    fn what_is_durable_in_a_directory_goes_with_its_name() {
        let make = "import os\nos.mkdir('n')\nf=os.open('n/a',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'x')\nos.fsync(f)\nos.fsync(os.open('n',os.O_RDONLY))\n";
        let sync = "os.fsync(os.open('.',os.O_RDONLY))\n";
        let left = |program: &str| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let live = directory.path().join("live");
            fs::create_dir(&live).expect("fresh");
            let shadow = Shadow::follow(&live, &directory.path().join("shadow"));
            let mut command = Command::new("python3");
            command.args(["-c", program]).current_dir(&live);
            let status = command.envs(shadow.environment()).status();
            assert!(status.expect("python3").success());
            shadow.cut_power();
            ["n", "m"].map(|name| fs::read_to_string(live.join(name).join("a")).ok())
        };
        let x = || Some(String::from("x"));
        assert_eq!(left(&format!("{make}os.rename('n','m')")), [None, None]);
        let renamed = format!("{make}{sync}os.rename('n','m')\n");
        assert_eq!(left(&renamed), [x(), None]);
        assert_eq!(left(&format!("{renamed}{sync}")), [None, x()]);
        // Another directory of the same name has nothing of the first.
        let again = format!("{renamed}{sync}os.mkdir('n')\n{sync}");
        assert_eq!(left(&again), [None, x()]);
    }

    #[test]
    fn what_is_copied_inside_the_kernel_is_followed() {
        let program = "import os\na=os.open('a',os.O_RDONLY)\nfor n in 'bc':\n f=os.open(n,os.O_WRONLY|os.O_CREAT)\n if n=='b': os.copy_file_range(a,f,3,0)\n else: os.sendfile(f,a,0,3)\n os.fsync(f)\nos.fsync(os.open('.',os.O_RDONLY))";
        let found = left_by(&[("a", "one")], program);
        assert_eq!(found, pairs(&[("a", "one"), ("b", "one"), ("c", "one")]));
    }

    /// Runs a Python program in `live` on such a machine; what it printed.
    fn printed_on(machine: Machine, program: &str) -> String {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let live = directory.path().join("live");
        fs::create_dir(&live).expect("fresh");
        let shadow = Shadow::follow(&live, &directory.path().join("shadow"));
        let control = Control::at(directory.path().join("control"));
        control.set(machine);
        let output = Command::new("python3")
            .args(["-c", program])
            .current_dir(&live)
            .envs(shadow.environment())
            .envs(control.environment())
            .output()
            .expect("python3");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn a_failing_disk_fails_only_what_it_should() {
        let program = "import os\nf=os.open('a',os.O_WRONLY|os.O_CREAT)\ntry:\n os.write(f,b'x')\nexcept OSError as e: print('write',e.errno)\ntry:\n os.fsync(f)\nexcept OSError as e: print('sync',e.errno)";
        let sound = Machine::default();
        assert_eq!(printed_on(sound, program), "");
        let sync_errno = 5;
        let failing = Machine {
            sync_errno,
            ..sound
        };
        assert_eq!(printed_on(failing, program), "sync 5");
        let write_errno = 28;
        let full = Machine {
            write_errno,
            ..sound
        };
        assert_eq!(printed_on(full, program), "write 28");
    }

    #[test]
    fn the_wall_clock_moves_and_stands_and_the_monotonic_one_goes_on() {
        let program = "import time\na=time.clock_gettime(time.CLOCK_MONOTONIC)\nw=time.time()\nprint(int(w), time.clock_gettime(time.CLOCK_MONOTONIC)>a, time.time()==w)";
        let clock_frozen_ns = 86_400_000_000_000;
        let machine = Machine {
            clock_frozen_ns,
            ..Machine::default()
        };
        assert_eq!(printed_on(machine, program), "86400 True True");
        let clock_shift_ns = -315_360_000_000_000_000;
        let machine = Machine {
            clock_shift_ns,
            ..Machine::default()
        };
        let printed = printed_on(machine, "import time\nprint(int(time.time()))");
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
        let seen: u64 = printed.parse().expect("seconds");
        let ago = now.as_secs() - seen;
        assert!((315_360_000..315_360_060).contains(&ago), "ten years back");
    }

    #[test]
    fn a_removed_file_comes_back_without_a_directory_sync() {
        let program = "import os\nos.unlink('a')\nf=os.open('b',os.O_WRONLY|os.O_CREAT)\nos.write(f,b'other')\nos.fsync(f)";
        let found = left_by(&[("a", "kept")], program);
        assert_eq!(found, pairs(&[("a", "kept")]));
    }
}
