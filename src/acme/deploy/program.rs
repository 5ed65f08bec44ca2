//! Runs a program that the configuration names: no shell, an environment of its own, a deadline, its lines told.
//!
//! The program is the leader of a process group. At the deadline, and when the server stops, the group gets SIGTERM and
//! a little later SIGKILL, so that what the program started does not stay behind. A program that ends by itself may
//! leave something running.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long is waited for the last lines of a program that has ended: what it left running may hold the pipe.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How often is looked whether the group is gone.
const LOOK: Duration = Duration::from_millis(20);
/// Octets of one line that are told.
const LINE: usize = 1000;
/// Lines and octets that are told of one run.
const LINES: usize = 200;
const OCTETS: usize = 64 * 1024;
/// Lines that go into the error.
const TAIL: usize = 5;

/// What the program finds from the server's own environment.
const PASSED_ON: [&str; 5] = ["HOME", "LANG", "LC_ALL", "PATH", "TZ"];
/// If the server has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run.
pub struct Program<'a> {
    /// The program and its arguments, as they are.
    pub command: &'a [String],
    pub folder: &'a Path,
    /// Beside what it gets of the server's environment.
    pub environment: Vec<(&'static str, String)>,
    pub deadline: Duration,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// Why, with the last lines.
    Badly(String),
    /// The server is stopping.
    Interrupted,
}

impl Program<'_> {
    /// Runs it to its end, or to ours. Each line of its output and its errors is told.
    pub async fn run(&self, stopping: &CancellationToken, tell: &(dyn Fn(String) + Send + Sync)) -> Ended {
        let Some((name, arguments)) = self.command.split_first() else { return Ended::Well };
        let mut child = match self.spawn(name, arguments) {
            Ok(child) => child,
            Err(error) => return Ended::Badly(format!("cannot run {name}: {error}")),
        };
        let group = Group(child.id());
        let output = Mutex::new(Output { tell, lines: 0, octets: 0, untold: 0, tail: VecDeque::new() });
        let ended = self.follow(name, &mut child, &group, &output, stopping).await;
        group.leave();
        let output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
        output.end();
        match ended {
            Ended::Badly(why) if !output.tail.is_empty() => {
                Ended::Badly(format!("{why}; its last lines: {}", Vec::from(output.tail).join(" | ")))
            }
            ended => ended,
        }
    }

    /// Waits for the end and for the last lines; stops the whole group if it comes to that.
    async fn follow(
        &self,
        name: &str,
        child: &mut Child,
        group: &Group,
        output: &Mutex<Output<'_>>,
        stopping: &CancellationToken,
    ) -> Ended {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async {
            tokio::join!(read(stdout, output), read(stderr, output));
        };
        tokio::pin!(reading);
        let (mut is_read, deadline) = (false, sleep(self.deadline));
        tokio::pin!(deadline);
        let (ended, is_over) = loop {
            tokio::select! {
                () = &mut reading, if !is_read => is_read = true,
                status = child.wait() => break match status {
                    Ok(status) if status.success() => (Ended::Well, true),
                    Ok(status) => (Ended::Badly(format!("{name} ended with {status}")), true),
                    Err(error) => (Ended::Badly(format!("cannot wait for {name}: {error}")), false),
                },
                () = &mut deadline => {
                    let seconds = self.deadline.as_secs();
                    break (Ended::Badly(format!("{name} did not end within {seconds} s and was stopped")), false);
                }
                () = stopping.cancelled() => break (Ended::Interrupted, false),
            }
        };
        let last_lines = async {
            if !is_read {
                let longest = if is_over { LAST_LINES } else { GRACE + LAST_LINES };
                let _ = timeout(longest, &mut reading).await;
            }
        };
        let stop = async {
            if !is_over {
                group.stop(child).await;
            }
        };
        tokio::join!(last_lines, stop);
        ended
    }

    fn spawn(&self, name: &str, arguments: &[String]) -> std::io::Result<Child> {
        let mut command = Command::new(name);
        command
            .args(arguments)
            .current_dir(self.folder)
            .env_clear()
            .env("PATH", PATH)
            .envs(PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.spawn()
    }
}

/// The process group of a program. Killed when dropped, unless it was left.
struct Group(Option<u32>);

impl Group {
    /// Whether a process of the group got the signal.
    fn signal(&self, signal: libc::c_int) -> bool {
        // 0 and 1 would be our own group and everybody.
        let Some(id) = self.0.and_then(|id| libc::pid_t::try_from(id).ok()).filter(|id| *id > 1) else { return false };
        // SAFETY: kill takes no pointers.
        unsafe { libc::kill(-id, signal) == 0 }
    }

    /// Asks all to end; after a while nobody is asked any more.
    async fn stop(&self, child: &mut Child) {
        let end = Instant::now() + GRACE;
        let mut is_there = self.signal(libc::SIGTERM);
        while is_there && Instant::now() < end {
            sleep(LOOK).await;
            // A process that nobody waited for is still there.
            let _ = child.try_wait();
            is_there = self.signal(0);
        }
        if is_there {
            self.signal(libc::SIGKILL);
        }
        let _ = child.wait().await;
    }

    fn leave(mut self) {
        self.0 = None;
    }
}

/// The run itself was dropped.
impl Drop for Group {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

/// Where the lines go.
struct Output<'a> {
    tell: &'a (dyn Fn(String) + Send + Sync),
    lines: usize,
    octets: usize,
    untold: usize,
    tail: VecDeque<String>,
}

impl Output<'_> {
    fn line(&mut self, line: &[u8]) {
        let shown = line.len().min(LINE);
        let mut text: String = String::from_utf8_lossy(&line[..shown])
            .trim_end()
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        if line.len() > LINE {
            text.push('…');
        }
        if text.is_empty() {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        if self.lines == LINES || self.octets + text.len() > OCTETS {
            self.untold += 1;
            return;
        }
        self.lines += 1;
        self.octets += text.len();
        (self.tell)(text);
    }

    fn end(&self) {
        match self.untold {
            0 => {}
            1 => (self.tell)("(1 more line)".into()),
            more => (self.tell)(format!("({more} more lines)")),
        }
    }
}

/// Reads to the end, however much it is.
async fn read(from: Option<impl AsyncRead + Unpin>, output: &Mutex<Output<'_>>) {
    let Some(mut from) = from else { return };
    let tell = |line: &[u8]| output.lock().unwrap_or_else(PoisonError::into_inner).line(line);
    let (mut chunk, mut line) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        for &octet in &chunk[..count] {
            match octet {
                b'\n' => {
                    tell(&line);
                    line.clear();
                }
                // One octet too many says that the line was longer.
                _ if line.len() <= LINE => line.push(octet),
                _ => {}
            }
        }
    }
    tell(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_for(deadline: Duration, script: &str) -> (Ended, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let program = Program { command: &command, folder: Path::new("/"), environment: Vec::new(), deadline };
        let ended = program.run(&CancellationToken::new(), &|line| told.lock().unwrap().push(line)).await;
        (ended, told.into_inner().unwrap())
    }

    async fn run(script: &str) -> (Ended, Vec<String>) {
        run_for(Duration::from_secs(30), script).await
    }

    #[tokio::test]
    async fn lines_are_bounded_in_length_and_number_and_the_rest_is_counted() {
        let (ended, told) = run("printf 'a\\033b\\n\\n'; head -c 3000 /dev/zero | tr '\\0' x; echo; seq 1000").await;
        assert_eq!(ended, Ended::Well);
        assert_eq!(told[0], "a b");
        assert_eq!(told[1].chars().count(), LINE + 1);
        assert_eq!((told.len(), told[LINES - 1].as_str()), (LINES + 1, "198"));
        assert_eq!(told[LINES], "(802 more lines)");
        let (_, told) = run("for i in $(seq 100); do head -c 900 /dev/zero | tr '\\0' x; echo; done").await;
        assert_eq!(told.len(), OCTETS / 900 + 1);
        assert_eq!(told.last().unwrap(), "(28 more lines)");
    }

    #[tokio::test]
    async fn the_error_names_status_or_signal_and_ends_with_the_last_lines() {
        let (ended, _) = run("seq 9; exit 3").await;
        let text = "/bin/sh ended with exit status: 3; its last lines: 5 | 6 | 7 | 8 | 9";
        assert_eq!(ended, Ended::Badly(text.into()));
        let (ended, _) = run("kill -KILL $$").await;
        assert_eq!(ended, Ended::Badly("/bin/sh ended with signal: 9 (SIGKILL)".into()));
    }

    /// One that heeds SIGTERM may tidy up; one that does not is killed a little later.
    #[tokio::test]
    async fn at_the_deadline_the_program_may_tidy_up() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let (ended, told) = run_for(second, "trap 'echo bye; exit' TERM; sleep 60 & wait").await;
        let text = "/bin/sh did not end within 1 s and was stopped; its last lines: bye";
        assert_eq!((ended, told), (Ended::Badly(text.into()), vec!["bye".into()]));
        assert!(begun.elapsed() < second + GRACE, "{:?}", begun.elapsed());
        let (ended, _) = run_for(second, "trap '' TERM; sleep 60").await;
        assert!(matches!(ended, Ended::Badly(_)), "{ended:?}");
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_is_not_waited_for() {
        let begun = Instant::now();
        let (ended, told) = run("sleep 5 & echo $!").await;
        assert_eq!(ended, Ended::Well);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let left: libc::pid_t = told[0].parse().unwrap();
        // SAFETY: kill takes no pointers.
        assert_eq!(unsafe { libc::kill(left, libc::SIGTERM) }, 0);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let command = ["/no/such/program".to_owned()];
        let (folder, deadline) = (Path::new("/"), Duration::from_secs(1));
        let program = Program { command: &command, folder, environment: Vec::new(), deadline };
        let ended = program.run(&CancellationToken::new(), &|_| {}).await;
        let Ended::Badly(error) = ended else { panic!("{ended:?}") };
        assert!(error.starts_with("cannot run /no/such/program: No such file"), "{error}");
    }
}
