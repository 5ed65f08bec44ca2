//! Whose the exported files are, and who else gets to them.
//!
//! Folders stay the server's, so that nobody can put anything into them; files are given to the configured owner and
//! group. The folders on the way can be passed by everybody and listed by nobody: certificates of several groups lie
//! beside each other.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User, geteuid};

use crate::config::Files;

/// Bits of a mode that are compared: not those that a folder inherits.
const PERMISSIONS: u32 = 0o777;

/// Why files cannot be given to whom they should belong.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("this system has no user `{0}`, who is to own the files")]
    NoUser(String),
    #[error("this system has no group `{0}`, which is to read the files")]
    NoGroup(String),
    #[error("cannot look up {what}: {reason}")]
    LookUp { what: String, reason: String },
    #[error(
        "cannot give {} to the user `{user}`: only root may; run the server as root or give it CAP_CHOWN \
         (systemd: AmbientCapabilities=CAP_CHOWN)",
        path.display()
    )]
    MayNotOwn { path: PathBuf, user: String },
    #[error(
        "cannot give {} to the group `{group}`: make the server's user a member of it, run the server as root, or give \
         it CAP_CHOWN (systemd: SupplementaryGroups={group} or AmbientCapabilities=CAP_CHOWN)",
        path.display()
    )]
    MayNotGroup { path: PathBuf, group: String },
    #[error("cannot change whose {} is or who may read it: {reason}", path.display())]
    Failed { path: PathBuf, reason: io::Error },
}

/// Who may read a certificate's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    server: u32,
    /// Somebody else than the server.
    owner: Option<(u32, String)>,
    group: Option<(u32, String)>,
}

impl Access {
    /// What the configuration says, with the numbers of the users and groups of this system.
    pub fn new(files: &Files) -> Result<Access, AccessError> {
        let failed = |what: String, error: nix::Error| AccessError::LookUp { what, reason: error.desc().to_owned() };
        let server = geteuid().as_raw();
        let mut owner = None;
        if let Some(name) = &files.owner {
            let user = User::from_name(name).map_err(|error| failed(format!("the user `{name}`"), error))?;
            let user = user.ok_or_else(|| AccessError::NoUser(name.clone()))?.uid.as_raw();
            owner = (user != server).then(|| (user, name.clone()));
        }
        let mut group = None;
        if let Some(name) = &files.group {
            let found = Group::from_name(name).map_err(|error| failed(format!("the group `{name}`"), error))?;
            group = Some((found.ok_or_else(|| AccessError::NoGroup(name.clone()))?.gid.as_raw(), name.clone()));
        }
        Ok(Access { server, owner, group })
    }

    /// Whether somebody else than the server gets to the files.
    fn is_shared(&self) -> bool {
        self.owner.is_some() || self.group.is_some()
    }

    fn file_mode(&self) -> u32 {
        if self.group.is_some() { 0o640 } else { 0o600 }
    }

    fn folder_mode(&self) -> u32 {
        // An owner who is not in the group has to come in as one of the others.
        let group = if self.group.is_some() { 0o050 } else { 0 };
        let others = if self.owner.is_some() { 0o011 } else { 0 };
        0o700 | group | others
    }

    fn passage_mode(&self) -> u32 {
        if self.is_shared() { 0o711 } else { 0o700 }
    }

    pub fn fits_file(&self, found: &Metadata) -> bool {
        let owner = self.owner.as_ref().map_or(self.server, |(owner, _)| *owner);
        found.is_file() && found.uid() == owner && self.fits(found, self.file_mode())
    }

    pub fn fits_folder(&self, found: &Metadata) -> bool {
        found.is_dir() && found.uid() == self.server && self.fits(found, self.folder_mode())
    }

    fn fits(&self, found: &Metadata, mode: u32) -> bool {
        found.mode() & PERMISSIONS == mode && self.group.as_ref().is_none_or(|(group, _)| found.gid() == *group)
    }

    /// Gives a new file to its owner and group.
    pub fn give_file(&self, file: &File, path: &Path) -> Result<(), AccessError> {
        // The mode first: it is not ours to change when the file is somebody else's.
        set_mode(file, path, self.file_mode())?;
        self.give_to_group(file, path)?;
        let Some((owner, user)) = &self.owner else { return Ok(()) };
        fchown(file, Some(*owner), None).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => AccessError::MayNotOwn { path: path.to_owned(), user: user.clone() },
            _ => AccessError::Failed { path: path.to_owned(), reason: error },
        })
    }

    /// Opens a new folder that is complete.
    pub fn give_folder(&self, path: &Path) -> Result<(), AccessError> {
        let folder = File::open(path).map_err(|reason| AccessError::Failed { path: path.to_owned(), reason })?;
        self.give_to_group(&folder, path)?;
        set_mode(&folder, path, self.folder_mode())
    }

    fn give_to_group(&self, file: &File, path: &Path) -> Result<(), AccessError> {
        let Some((number, group)) = &self.group else { return Ok(()) };
        fchown(file, None, Some(*number)).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => AccessError::MayNotGroup { path: path.to_owned(), group: group.clone() },
            _ => AccessError::Failed { path: path.to_owned(), reason: error },
        })
    }

    /// Lets the folder of one certificate be passed as far as needed.
    pub fn open_passage(&self, path: &Path) -> Result<(), AccessError> {
        self.set_passage(path, |_| self.passage_mode())
    }

    /// The same for a folder that other certificates lie in too: it is never closed here.
    pub fn widen_passage(&self, path: &Path) -> Result<(), AccessError> {
        self.set_passage(path, |mode| if self.is_shared() { mode | 0o011 } else { mode })
    }

    fn set_passage(&self, path: &Path, wanted: impl FnOnce(u32) -> u32) -> Result<(), AccessError> {
        let failed = |reason| AccessError::Failed { path: path.to_owned(), reason };
        let mode = fs::symlink_metadata(path).map_err(failed)?.mode() & PERMISSIONS;
        let wanted = wanted(mode);
        if wanted == mode {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(failed)
    }

    /// A folder on the way to this one that those who may read the files cannot pass, as far as modes tell.
    pub fn barred_by(&self, certs: &Path) -> Option<PathBuf> {
        let certs = fs::canonicalize(certs).ok().filter(|_| self.is_shared())?;
        let passes = |found: &Metadata| {
            let group =
                self.group.as_ref().is_some_and(|(group, _)| *group == found.gid() && found.mode() & 0o010 != 0);
            let owner =
                self.owner.as_ref().is_some_and(|(owner, _)| *owner == found.uid() && found.mode() & 0o100 != 0);
            found.mode() & 0o001 != 0 || group || owner
        };
        let barred = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| !passes(&found));
        certs.ancestors().find(barred).map(Path::to_owned)
    }
}

fn set_mode(file: &File, path: &Path, mode: u32) -> Result<(), AccessError> {
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(|reason| AccessError::Failed { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use nix::unistd::{Gid, Uid, getegid, getgroups, setfsgid, setfsuid};

    use super::*;
    use crate::acme::certificate::tests::certificate;
    use crate::acme::export::export;

    /// A folder that others can pass, as one outside of the data folder is.
    fn passable() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        folder
    }

    /// Mode, user, group.
    fn seen(path: PathBuf) -> (u32, u32, u32) {
        let found = fs::metadata(path).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    }

    /// A group that this process may give files to: any for root, one of its own for others.
    fn some_group() -> Group {
        let own = getgroups().unwrap().into_iter().chain([getegid()]);
        let nobody = User::from_name("nobody").unwrap().unwrap().gid;
        let first = if geteuid().is_root() { Some(nobody) } else { None };
        first.into_iter().chain(own).find_map(|gid| Group::from_gid(gid).unwrap()).expect("a group with a name")
    }

    /// What a thread sees that reaches for files as another user, without privileges.
    fn as_user<T: Send>(user: Uid, group: Gid, look: impl FnOnce() -> T + Send) -> T {
        let look = || {
            setfsgid(group);
            setfsuid(user);
            look()
        };
        std::thread::scope(|scope| scope.spawn(look).join().unwrap())
    }

    #[test]
    fn a_group_reads_its_files_and_lists_nothing_above_them() {
        let folder = passable();
        let certs = folder.path().join("certs");
        let group = some_group();
        let files = Files { group: Some(group.name.clone()), ..Files::default() };
        let (alone, certificate) = (Files::default(), certificate(1));
        assert!(export(&certs, "other", &certificate, &alone, 3).unwrap());
        assert!(export(&certs, "site", &certificate, &alone, 3).unwrap());
        assert!(export(&certs, "site", &certificate, &files, 3).unwrap(), "the group has changed");
        assert!(!export(&certs, "site", &certificate, &files, 3).unwrap());

        let (us, gid) = (geteuid(), group.gid.as_raw());
        assert_eq!(seen(certs.join("site")), (0o750, us.as_raw(), gid));
        for file in ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"] {
            assert_eq!(seen(certs.join("site").join(file)), (0o640, us.as_raw(), gid), "{file}");
        }
        for passage in ["", ".versions", ".versions/site"] {
            assert_eq!(seen(certs.join(passage)).0, 0o711, "{passage}");
        }
        assert_eq!((seen(certs.join(".versions/other")).0, seen(certs.join("other")).0), (0o700, 0o700));
        let versions = || fs::read_dir(certs.join(".versions/site")).unwrap().count();
        assert_eq!(versions(), 1, "the folder of before is open to others than now");

        // The one certificate's group does not shut the way for the other's.
        assert!(!export(&certs, "other", &certificate, &alone, 3).unwrap());
        assert_eq!((seen(certs.clone()).0, seen(certs.join(".versions")).0), (0o711, 0o711));

        if us.is_root() {
            let member = |path: &str| as_user(Uid::from_raw(12_345), group.gid, || fs::read(certs.join(path)).is_ok());
            assert!(member("site/privkey.pem") && !member("other/privkey.pem"));
            let stranger = || fs::read(certs.join("site/privkey.pem")).is_ok();
            assert!(!as_user(Uid::from_raw(12_345), Gid::from_raw(12_345), stranger));
            for listed in ["", ".versions", ".versions/site"] {
                assert!(as_user(Uid::from_raw(12_345), group.gid, || fs::read_dir(certs.join(listed)).is_err()));
            }
        }

        assert!(export(&certs, "site", &certificate, &alone, 3).unwrap());
        assert_eq!((seen(certs.join("site")).0, seen(certs.join(".versions/site")).0), (0o700, 0o700));
        assert_eq!((seen(certs.join("site/privkey.pem")).0, versions()), (0o600, 1));
    }

    /// Root gives files away; everybody else hears what is lacking.
    #[test]
    fn an_owner_gets_the_files_where_the_server_may_give_them() {
        let folder = passable();
        let certs = folder.path().join("certs");
        let certificate = certificate(1);
        let us = geteuid();
        let give = |owner: &str, group: Option<&str>| {
            let files = Files { owner: Some(owner.into()), group: group.map(str::to_owned), ..Files::default() };
            export(&certs, "site", &certificate, &files, 3)
        };
        // Ourselves: nothing to give.
        let own = User::from_uid(us).unwrap().expect("a user with a name").name;
        assert!(give(&own, None).unwrap());
        assert_eq!(seen(certs.join("site")).0, 0o700);

        let nobody = User::from_name("nobody").unwrap().unwrap();
        if us.is_root() {
            assert!(give("nobody", None).unwrap());
            assert!(!give("nobody", None).unwrap());
            let uid = nobody.uid.as_raw();
            for file in ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"] {
                let (mode, user, _) = seen(certs.join("site").join(file));
                assert_eq!((mode, user), (0o600, uid), "{file}");
            }
            // Nobody but the server can put a file there.
            assert_eq!(seen(certs.join("site")), (0o711, 0, 0));
            let key = || fs::read(certs.join("site/privkey.pem")).is_ok();
            assert!(as_user(nobody.uid, Gid::from_raw(12_345), key));
            assert!(!as_user(Uid::from_raw(12_345), Gid::from_raw(12_345), key));
            assert!(as_user(nobody.uid, nobody.gid, || fs::write(certs.join("site/new"), "").is_err()));

            assert!(give("nobody", Some("daemon")).unwrap());
            assert_eq!(seen(certs.join("site")).0, 0o751);
            assert_eq!(seen(certs.join("site/privkey.pem")).0, 0o640);
            assert!(as_user(nobody.uid, Gid::from_raw(12_345), key));
        }

        // What a server without privileges says.
        let other = folder.path().join("other");
        let given = |files: &Files| {
            let attempt = || export(&other, "site", &certificate, files, 3).map_err(|error| error.to_string());
            if !us.is_root() {
                return attempt();
            }
            fs::create_dir_all(&other).unwrap();
            chown(&other, Some(12_345), Some(12_345)).unwrap();
            as_user(Uid::from_raw(12_345), Gid::from_raw(12_345), attempt)
        };
        let foreign = if us.is_root() { "nobody" } else { "root" };
        let refused = given(&Files { owner: Some(foreign.into()), ..Files::default() }).unwrap_err();
        assert!(refused.contains(foreign) && refused.contains("CAP_CHOWN"), "{refused}");
        assert!(!other.join("site").exists());
        let unknown = given(&Files { owner: Some("no-such-user".into()), ..Files::default() }).unwrap_err();
        assert!(unknown.contains("no user `no-such-user`"), "{unknown}");
        let unknown = given(&Files { group: Some("no-such-group".into()), ..Files::default() }).unwrap_err();
        assert!(unknown.contains("no group `no-such-group`"), "{unknown}");
    }
}
