//! Programs run by a test: their output is kept in a file, and they never outlive the test.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::wait::poll;

/// Lines of a log shown when something went wrong.
const TAIL: usize = 40;

/// A running program. Dropping it kills it, with the processes it started, and waits until they are gone; if the
/// thread is panicking, the end of the program's output is shown first.
pub struct Subprocess {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Subprocess {
    /// Starts `command`, with no input, and its output and errors in one log file.
    pub fn start(name: &str, mut command: Command) -> Subprocess {
        let log = NamedTempFile::new().expect("a temporary file for the log");
        let append = || Stdio::from(File::options().append(true).open(log.path()).expect("the log opens"));
        command.stdin(Stdio::null()).stdout(append()).stderr(append());
        let child = spawn(name, command);
        Subprocess { name: name.to_owned(), child, log }
    }

    /// `poll` that also ends, with the end of the log, when the program ends.
    #[track_caller]
    pub fn wait_until<T>(&mut self, deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let trouble = match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => format!("it ended with {status}"),
                None if Instant::now() >= end => format!("it did not come within {deadline:?}"),
                None => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            // Dropping the program shows its log.
            panic!("{}: waited for {what}, but {trouble}", self.name);
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while the program has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Sends a signal to the program: `libc::SIGTERM`.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes no pointers; the child has not been waited for, so its id is still its own.
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(result, 0, "{}: {}", self.name, io::Error::last_os_error());
    }

    /// Waits for the program's own end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        poll(deadline, &what, || self.child.try_wait().expect("a child can be waited for"))
    }

    /// All that the program has written so far, to its output and its errors.
    pub fn log(&self) -> String {
        text_of(self.log.path())
    }

    fn log_tail(&self) -> String {
        tail(&self.log())
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {}:\n{}", self.name, self.log_tail());
        }
        kill_group(&mut self.child);
    }
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    name: String,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Panics, showing what was written, unless the program ended with success.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        assert!(self.success(), "{} ended with {}:\n{}", self.name, self.status, tail(&self.output()));
        self
    }

    /// Panics, showing what was written, unless the program ended by itself with a failure.
    #[track_caller]
    pub fn expect_failure(self) -> Finished {
        let failed = !self.success() && self.status.signal().is_none();
        assert!(failed, "{} ended with {}:\n{}", self.name, self.status, tail(&self.output()));
        self
    }

    /// Output and then errors.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end; panics if that does not come before the deadline.
#[track_caller]
pub fn run(name: &str, mut command: Command, deadline: Duration) -> Finished {
    let [stdout, stderr] = [(), ()].map(|()| NamedTempFile::new().expect("a temporary file for the output"));
    let write = |file: &NamedTempFile| Stdio::from(file.reopen().expect("the output file opens"));
    command.stdin(Stdio::null()).stdout(write(&stdout)).stderr(write(&stderr));
    let mut child = spawn(name, command);
    let end = Instant::now() + deadline;
    let status = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            None => {
                kill_group(&mut child);
                let written = text_of(stdout.path()) + &text_of(stderr.path());
                panic!("{name} did not end within {deadline:?}:\n{}", tail(&written));
            }
        }
    };
    let (stdout, stderr) = (text_of(stdout.path()), text_of(stderr.path()));
    Finished { status, stdout, stderr, name: name.to_owned() }
}

/// Starts a program in a process group of its own that the kernel kills when this process ends, however it ends.
///
/// The kernel ties the program not to the process that started it but to the thread, and a test's thread ends before
/// what it left in a static does. So one thread, which ends with the process, starts them all.
#[track_caller]
fn spawn(name: &str, mut command: Command) -> Child {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        // Grandchildren whose parent has been killed become children of this process, which can then wait for them.
        // SAFETY: prctl with these arguments takes no pointers.
        let adopts = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0;
        assert!(adopts, "{}", io::Error::last_os_error());
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The asker waits for the reply.
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    command.process_group(0);
    // SAFETY: prctl with these arguments is one system call, so it may run between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let program = command.get_program().to_owned();
    let (reply, answer) = mpsc::channel();
    SPAWNER.send((command, reply)).expect("the spawning thread lives");
    match answer.recv().expect("the spawning thread answers") {
        Ok(child) => child,
        Err(error) => panic!("{name}: {} does not start: {error}", program.display()),
    }
}

/// Kills a program and what it started, and waits until all are gone, so that their ports are free again.
fn kill_group(child: &mut Child) {
    let group = child.id() as libc::pid_t;
    // SAFETY: kill takes no pointers; the group, whose id is the program's, is one that `spawn` made.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    // An error means that it has been waited for already.
    let _ = child.wait();
    // What the program had started is this process's child now; an error means that none is left.
    // SAFETY: a null pointer asks for no status.
    while unsafe { libc::waitpid(-group, std::ptr::null_mut(), 0) } > 0 {}
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
