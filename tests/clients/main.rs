//! Unmodified ACME clients get wildcard certificates through acmezone's doors, from a real CA that validates through a
//! real resolver: apex and wildcard in one order, which is two values at one name.

#[path = "../support/mod.rs"]
mod support;

mod certbot;
mod checks;
mod crowd;
mod export;
mod golang;
mod host;
mod httpreq;
mod lego;
mod multi;
mod stage;
mod storage;
mod tokens;
mod uacme;
mod updates;

/// The tests wait for their clients, lego for seconds before each look at the CA, and the processors are idle
/// meanwhile: so more tests run at a time than there are processors. The test harness reads the variable when it
/// starts, hence this has to run before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static SEVERAL_AT_A_TIME: extern "C" fn() = {
    extern "C" fn set() {
        const NAME: &str = "RUST_TEST_THREADS";
        if std::env::var_os(NAME).is_none() {
            // SAFETY: before `main` there is no other thread that could read the environment.
            unsafe { std::env::set_var(NAME, "8") };
        }
    }
    set
};
