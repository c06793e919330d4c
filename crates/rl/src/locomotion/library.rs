//! MuJoCo's C library, loaded at run time. All unsafe code for it is in this file.
//!
//! Only functions are called, so that no layout of C's structures has to be known, with one exception: contact forces
//! have no accessor function, so their pointer is read at its offset in `mjData`. Hence only one version is accepted,
//! [`VERSION`].

#![allow(unsafe_code, reason = "calls a C library")]

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null, null_mut};
use std::slice;
use std::sync::Arc;

use libloading::Library;

use super::ADVICE;

/// The version whose `mujoco.h` this file follows, and whose rollouts the tests replay.
const VERSION: &str = "3.17.0";

/// `offsetof(mjData, cfrc_ext)` of [`VERSION`] on 64-bit systems, the only ones supported.
const CFRC_EXT: usize = 161_464;

/// `mjSAMEFRAME_BODY` of `mjtSameFrame`.
const SAMEFRAME_BODY: u8 = 1;

/// Forces and torques on a body.
const WRENCH: usize = 6;

/// A part of a simulation's state: the bits of `mjtState`.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Seconds since the reset.
    Time = 1 << 0,
    /// `qpos`
    Positions = 1 << 1,
    /// `qvel`
    Velocities = 1 << 2,
    /// `ctrl`
    Controls = 1 << 6,
    /// `xfrc_applied`, six for each body.
    Wrenches = 1 << 8,
}

/// `mjModel`
#[repr(C)]
struct RawModel {
    _opaque: [u8; 0],
}

/// `mjData`
#[repr(C)]
struct RawData {
    _opaque: [u8; 0],
}

macro_rules! mujoco {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// Functions of the library, which is never unloaded.
        #[derive(Clone, Copy)]
        #[allow(non_snake_case, reason = "C's names")]
        pub(super) struct Mujoco {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Mujoco {
            /// # Safety
            ///
            /// The library must be MuJoCo's of [`VERSION`], and must stay loaded.
            unsafe fn functions(library: &Library) -> Result<Mujoco, libloading::Error> {
                // SAFETY: the types are those declared in `mujoco.h`.
                unsafe { Ok(Mujoco { $($name: *library.get(stringify!($name))?,)* }) }
            }
        }
    };
}

mujoco! {
    mj_loadXML: fn(*const c_char, *const c_void, *mut c_char, c_int) -> *mut RawModel;
    mj_deleteModel: fn(*mut RawModel);
    mj_makeData: fn(*const RawModel) -> *mut RawData;
    mj_deleteData: fn(*mut RawData);
    mj_resetData: fn(*const RawModel, *mut RawData);
    mj_forward: fn(*const RawModel, *mut RawData);
    mj_step: fn(*const RawModel, *mut RawData);
    mj_rnePostConstraint: fn(*const RawModel, *mut RawData);
    mj_stateSize: fn(*const RawModel, c_int) -> c_int;
    mj_getState: fn(*const RawModel, *const RawData, *mut f64, c_int);
    mj_setState: fn(*const RawModel, *mut RawData, *const f64, c_int);
    mj_local2Global: fn(*mut RawData, *mut f64, *mut f64, *const f64, *const f64, c_int, u8);
}

/// Names of the library's file, the most specific first.
fn names() -> &'static [&'static str] {
    if cfg!(target_os = "windows") {
        &["mujoco.dll"]
    } else if cfg!(target_os = "macos") {
        &["libmujoco.3.17.0.dylib", "libmujoco.dylib"]
    } else {
        &["libmujoco.so.3.17.0", "libmujoco.so"]
    }
}

/// The library's file, given its path or the folder that holds it.
fn file(place: &Path) -> Result<PathBuf, String> {
    let wanted = names().join(" or ");
    let place = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
    if place.is_dir() {
        let mut files = names().iter().map(|name| place.join(name));
        return files.find(|file| file.is_file()).ok_or_else(|| {
            format!("INNERLOOP_MUJOCO: {} holds no {wanted}; {ADVICE}", place.display())
        });
    }
    if !place.exists() {
        return Err(format!(
            "INNERLOOP_MUJOCO: {} is not there, expected {wanted} or the folder that holds it; {ADVICE}",
            place.display()
        ));
    }
    Ok(place)
}

/// The system loader's message, which the error's own text leaves out.
fn cause(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn check_version(found: &str) -> Result<(), String> {
    if found == VERSION {
        return Ok(());
    }
    Err(format!("is of version {found}, expected {VERSION} and no other; {ADVICE}"))
}

impl Mujoco {
    /// The library in this file or folder, else the one that the system finds by name.
    pub(super) fn open(place: Option<&Path>) -> Result<Mujoco, String> {
        let files = match place {
            Some(place) => vec![file(place)?],
            None => names().iter().map(PathBuf::from).collect(),
        };
        let mut failures = Vec::new();
        for file in files {
            // SAFETY: loading a library runs its code; MuJoCo's may run at any time, and the name or the user says that
            // this is MuJoCo's.
            match unsafe { Library::new(&file) } {
                Ok(library) => {
                    return Mujoco::of(library).map_err(|why| format!("{} {why}", file.display()));
                }
                Err(error) => failures.push(format!("{} ({})", file.display(), cause(&error))),
            }
        }
        Err(format!("MuJoCo's library cannot be loaded: {}; {ADVICE}", failures.join(", ")))
    }

    fn of(library: Library) -> Result<Mujoco, String> {
        let stranger = |error| format!("is not MuJoCo's library: {}; {ADVICE}", cause(&error));
        // SAFETY: the function has had this type in every version.
        let version = unsafe {
            let version: libloading::Symbol<unsafe extern "C" fn() -> *const c_char> =
                library.get("mj_versionString").map_err(stranger)?;
            CStr::from_ptr(version()).to_string_lossy().into_owned()
        };
        check_version(&version)?;
        // SAFETY: the library identifies itself as MuJoCo of this version.
        let mujoco = unsafe { Mujoco::functions(&library) }.map_err(stranger)?;
        // Its functions are called for as long as the program runs.
        std::mem::forget(library);
        Ok(mujoco)
    }
}

/// A compiled model, which is immutable.
pub(super) struct Model {
    mujoco: Mujoco,
    raw: NonNull<RawModel>,
}

// SAFETY: every function takes the model as constant, except for the one that frees it, which owns it; MuJoCo allows
// any number of threads to simulate one model.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// The model in an XML file; errors are MuJoCo's own messages.
    pub(super) fn load(mujoco: Mujoco, file: &Path) -> Result<Model, String> {
        let path = CString::new(file.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
        let mut words = [0_u8; 1000];
        let (to, len) = (words.as_mut_ptr().cast(), words.len() as c_int);
        // SAFETY: the path ends with zero; no virtual file system is given; `words` is as long as stated.
        let raw = unsafe { (mujoco.mj_loadXML)(path.as_ptr(), null(), to, len) };
        let words = CStr::from_bytes_until_nul(&words).unwrap_or_default().to_string_lossy();
        let raw = NonNull::new(raw).ok_or_else(|| words.trim().to_string())?;
        Ok(Model { mujoco, raw })
    }

    /// Number of values in a part of the state.
    pub(super) fn len(&self, part: Part) -> usize {
        // SAFETY: the model is valid, and the bit is one of `mjtState`.
        let len = unsafe { (self.mujoco.mj_stateSize)(self.raw.as_ptr(), part as c_int) };
        usize::try_from(len).expect("a size")
    }

    /// Bodies, the world included.
    pub(super) fn bodies(&self) -> usize {
        self.len(Part::Wrenches) / WRENCH
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by MuJoCo and freed once; simulations hold the model by an `Arc`.
        unsafe { (self.mujoco.mj_deleteModel)(self.raw.as_ptr()) }
    }
}

/// A simulation of a model.
pub(super) struct Simulation {
    model: Arc<Model>,
    raw: NonNull<RawData>,
}

// SAFETY: nothing else reaches the memory behind the pointer, and MuJoCo does not tie it to a thread.
unsafe impl Send for Simulation {}

impl Simulation {
    /// In the model's initial state.
    pub(super) fn new(model: Arc<Model>) -> Simulation {
        // SAFETY: the model is valid.
        let raw = unsafe { (model.mujoco.mj_makeData)(model.raw.as_ptr()) };
        let raw = NonNull::new(raw).expect("memory for a simulation");
        Simulation { model, raw }
    }

    fn call(&mut self, function: unsafe extern "C" fn(*const RawModel, *mut RawData)) {
        // SAFETY: the simulation was made for this model, and only this handle refers to it.
        unsafe { function(self.model.raw.as_ptr(), self.raw.as_ptr()) }
    }

    /// Returns to the model's initial state.
    pub(super) fn reset(&mut self) {
        self.call(self.model.mujoco.mj_resetData);
    }

    /// Computes everything that follows from the state, without advancing it.
    pub(super) fn forward(&mut self) {
        self.call(self.model.mujoco.mj_forward);
    }

    /// Advances by one time step.
    pub(super) fn step(&mut self) {
        self.call(self.model.mujoco.mj_step);
    }

    /// Computes the contact forces of the last step.
    pub(super) fn compute_contact_forces(&mut self) {
        self.call(self.model.mujoco.mj_rnePostConstraint);
    }

    /// Copies a part of the state.
    pub(super) fn read(&self, part: Part, to: &mut [f64]) {
        assert_eq!(to.len(), self.model.len(part));
        let (model, raw) = (self.model.raw.as_ptr(), self.raw.as_ptr());
        // SAFETY: the simulation was made for this model; `to` has the part's size.
        unsafe { (self.model.mujoco.mj_getState)(model, raw, to.as_mut_ptr(), part as c_int) }
    }

    /// Sets a part of the state.
    pub(super) fn write(&mut self, part: Part, from: &[f64]) {
        assert_eq!(from.len(), self.model.len(part));
        let (model, raw) = (self.model.raw.as_ptr(), self.raw.as_ptr());
        // SAFETY: the simulation was made for this model; `from` has the part's size.
        unsafe { (self.model.mujoco.mj_setState)(model, raw, from.as_ptr(), part as c_int) }
    }

    /// `xpos`: where a body's frame was when the last step began.
    pub(super) fn body_position(&mut self, body: usize) -> [f64; 3] {
        assert!(body < self.model.bodies());
        let mut to = [0.0; 3];
        let (raw, place, none) = (self.raw.as_ptr(), to.as_mut_ptr(), null_mut());
        let origin = [0.0; 3];
        // SAFETY: the body is one of the model's; position and origin have three numbers each. No orientation is
        // requested.
        unsafe {
            let local_to_global = self.model.mujoco.mj_local2Global;
            local_to_global(raw, place, none, origin.as_ptr(), none, body as c_int, SAMEFRAME_BODY);
        }
        to
    }

    /// `cfrc_ext`: torque and force of contacts on each body, `[bodies · 6]`, as last computed.
    pub(super) fn contact_forces(&self) -> &[f64] {
        let len = self.model.bodies() * WRENCH;
        // SAFETY: in this version `mjData` has at this offset a pointer to `[bodies · 6]` numbers, initially zero,
        // which live as long as the simulation and which only functions that take it as mutable write.
        unsafe {
            let pointer = self.raw.as_ptr().cast::<u8>().add(CFRC_EXT).cast::<*const f64>().read();
            slice::from_raw_parts(pointer, len)
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // SAFETY: made by MuJoCo and freed once, before its model.
        unsafe { (self.model.mujoco.mj_deleteData)(self.raw.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(place: &Path, words: &[&str]) {
        let error = Mujoco::open(Some(place)).err().expect("no library");
        for words in words.iter().chain(&["pip install", "INNERLOOP_MUJOCO"]) {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_no_library_is_refused() {
        refused(
            Path::new("nowhere/libmujoco.so"),
            &["nowhere/libmujoco.so is not there", names()[0]],
        );
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        refused(package, &["holds no", names()[0]]);
        let words = ["MuJoCo's library cannot be loaded", "Cargo.toml ("];
        refused(&package.join("Cargo.toml"), &words);
    }

    #[cfg(unix)]
    #[test]
    fn another_library_is_refused() {
        let this_program = libloading::os::unix::Library::this().into();
        let error = Mujoco::of(this_program).err().expect("not MuJoCo");
        assert!(error.contains("is not MuJoCo's library"), "{error}");
        assert!(error.contains("mj_versionString"), "{error}");
    }

    #[test]
    fn one_version_is_accepted() {
        assert_eq!(check_version(VERSION), Ok(()));
        assert!(ADVICE.contains(VERSION));
        for other in ["3.16.1", "3.17.1", "4.0.0", ""] {
            let error = check_version(other).unwrap_err();
            let words = format!("is of version {other}, expected {VERSION} and no other");
            assert!(error.contains(&words), "{error}");
        }
    }
}
