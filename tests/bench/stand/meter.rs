//! What the kernel says of a process: CPU time and memory; and on which core it runs.

use std::fs;
use std::io;
use std::mem::zeroed;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the calling thread, and what it starts from now on, run on this core alone.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: all-zero octets are a valid, empty cpu_set_t; the set lives during the call, and its size is given.
    let result = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The command, to be started on this core alone.
pub fn pinned(mut command: Command, core: usize) -> Command {
    // SAFETY: `pin` makes one system call and takes no lock, so it may run between fork and exec.
    unsafe { command.pre_exec(move || pin(core)) };
    command
}

/// CPU seconds, user and system, that the processes of a group have used, their threads included.
pub fn cpu_of_group(group: u32) -> f64 {
    let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let stats = processes.filter_map(|entry| Stat::read(&format!("{}/stat", entry.path().display())));
    stats.filter(|stat| stat.group == group).map(|stat| stat.cpu).sum()
}

/// CPU seconds of those threads of a process whose names begin with `prefix`; `None` if there is no such thread.
pub fn cpu_of_threads(process: u32, prefix: &str) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let stats = threads.filter_map(|entry| Stat::read(&format!("{}/stat", entry.path().display())));
    let times: Vec<f64> = stats.filter(|stat| stat.name.starts_with(prefix)).map(|stat| stat.cpu).collect();
    (!times.is_empty()).then(|| times.iter().sum())
}

/// Octets of memory that a process has in RAM.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub all: u64,
    /// Its own data: without the program file and other mapped files.
    pub anonymous: u64,
}

pub fn resident(process: u32) -> Resident {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let octets = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel tells it");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    };
    Resident { all: octets("VmRSS:"), anonymous: octets("RssAnon:") }
}

/// One line of /proc/PID/stat, or of a thread.
struct Stat {
    name: String,
    group: u32,
    cpu: f64,
}

impl Stat {
    fn read(path: &str) -> Option<Stat> {
        let text = fs::read_to_string(path).ok()?;
        // The name may hold spaces and brackets; after it, fields 3, 4, 5 … of proc(5) follow.
        let (before, after) = text.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split(' ').collect();
        let ticks = |index: usize| fields.get(index - 3)?.parse::<f64>().ok();
        let group = fields.get(2)?.parse().ok()?;
        Some(Stat { name: name.to_owned(), group, cpu: (ticks(14)? + ticks(15)?) / ticks_per_second() })
    }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointers.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
