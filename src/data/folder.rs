//! Images in folders, one folder a class.
//!
//! ```text
//!   root/cat/01.png      class 0: "cat"          classes and files in the order of their names
//!   root/cat/more/02.jpg
//!   root/dog/01.jpeg     class 1: "dog"
//! ```

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::ImageReader;

use super::array::{Array, Sample, Target, Values, to_byte};
use super::dataset::Dataset;
use super::error::DataError;
use super::images::Images;
use super::random::Random;
use super::transform::{CenterCrop, Resize, Transform};

/// What is read; other files are left alone.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// PNG and JPEG files of a folder, decoded to three channels when they are asked for.
///
/// Images keep their sizes: [`Resize`](super::Resize) or a crop brings those of a batch to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    files: Vec<(PathBuf, i32)>,
    class_names: Vec<String>,
}

impl ImageFolder {
    /// Lists the images below `root`; a class is a folder directly in it, and holds at least one image.
    ///
    /// Errors: a folder that can't be read, one without classes, a class without images.
    pub fn new(root: impl AsRef<Path>) -> Result<ImageFolder, DataError> {
        let root = root.as_ref();
        let mut data = ImageFolder { files: Vec::new(), class_names: Vec::new() };
        for class in entries(root)?.into_iter().filter(|path| path.is_dir()) {
            let before = data.files.len();
            let label = i32::try_from(data.class_names.len()).unwrap_or(i32::MAX);
            list(&class, &mut |file| data.files.push((file, label)))?;
            if data.files.len() == before {
                let reason = format!("no image in this class: looked for files ending in {}", EXTENSIONS.join(", "));
                return Err(DataError::Format { file: class.display().to_string(), reason });
            }
            data.class_names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        if data.class_names.is_empty() {
            let reason = "no classes: expected one folder of images for each".to_string();
            return Err(DataError::Format { file: root.display().to_string(), reason });
        }
        Ok(data)
    }

    /// The files with the class of each.
    pub fn files(&self) -> &[(PathBuf, i32)] {
        &self.files
    }

    /// All images in memory, each as [`read_fitted`] gives it, of the size [height, width, channels].
    ///
    /// Errors: those of [`read_fitted`]; more than 256 classes, which [`Images`] cannot tell apart.
    pub fn images(&self, shape: [usize; 3]) -> Result<Images, DataError> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::with_capacity(self.files.len()));
        for (path, label) in &self.files {
            let bad = |reason: &str| DataError::Format { file: path.display().to_string(), reason: reason.to_string() };
            labels.push(u8::try_from(*label).map_err(|_| bad("images in memory are of at most 256 classes"))?);
            match read_fitted(path, shape)?.into_parts().1 {
                Values::Bytes(bytes) => pixels.extend(bytes),
                Values::Floats(_) => return Err(bad("images in memory are bytes")),
            }
        }
        Images::new(pixels, labels, shape, self.class_names.clone())
    }
}

/// What a folder holds, in the order of names.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(dir).map_err(DataError::io("read", dir))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(DataError::io("read", dir))?;
    paths.sort();
    Ok(paths)
}

/// The images below `dir`. Links to files are followed; links to folders are not, since they may go round.
fn list(dir: &Path, found: &mut impl FnMut(PathBuf)) -> Result<(), DataError> {
    for path in entries(dir)? {
        let is_image = |path: &Path| {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        if path.is_dir() {
            if !path.is_symlink() {
                list(&path, found)?;
            }
        } else if is_image(&path) {
            found(path);
        }
    }
    Ok(())
}

/// Decodes a PNG or JPEG file to [height, width, 3] bytes. The kind is told by the contents, not by the name; grey
/// images have three equal channels, transparency is dropped, and 16 bits a channel become 8.
///
/// Errors: a file that can't be read or does not decode, or one of more than 512 MiB.
pub fn read_image(path: impl AsRef<Path>) -> Result<Array, DataError> {
    let path = path.as_ref();
    let bad = |reason: String| DataError::Format { file: path.display().to_string(), reason };
    let file = BufReader::new(fs::File::open(path).map_err(DataError::io("read", path))?);
    let reader = ImageReader::new(file).with_guessed_format().map_err(DataError::io("read", path))?;
    let image = reader.decode().map_err(|error| bad(format!("does not decode: {error}")))?.into_rgb8();
    let (width, height) = image.dimensions();
    Array::new([height as usize, width as usize, 3], image.into_raw()).map_err(|error| bad(error.to_string()))
}

/// Reads an image as a network takes it, bytes of the shape [height, width, channels] with 1 or 3 channels: the side that
/// is shorter in proportion is resized, and the middle is taken. One channel is the luma of ITU-R BT.601, as PIL's "L".
///
/// Errors: those of [`read_image`]; another number of channels; a size beyond any use.
pub fn read_fitted(path: impl AsRef<Path>, [rows, columns, channels]: [usize; 3]) -> Result<Array, DataError> {
    let path = path.as_ref();
    let mut image = read_image(path)?;
    let [height, width, _] = image.image_shape()?;
    let resized = if height as u128 * columns as u128 <= width as u128 * rows as u128 {
        [rows, fitted(width, rows, height)]
    } else {
        [fitted(height, columns, width), columns]
    };
    for step in [&Resize::exactly(resized) as &dyn Transform, &CenterCrop { size: [rows, columns] }] {
        image = step.apply(image, &mut Random::new(0))?;
    }
    match (channels, image.into_parts()) {
        (1, (_, Values::Bytes(colours))) => {
            let luma = |c: &[u8]| to_byte(0.299 * f32::from(c[0]) + 0.587 * f32::from(c[1]) + 0.114 * f32::from(c[2]));
            Array::new([rows, columns, 1], colours.chunks_exact(3).map(luma).collect::<Vec<u8>>())
        }
        (3, (shape, colours)) => Array::new(shape, colours),
        _ => Err(DataError::option("channels", channels, "1 or 3, grey or colours".to_string())),
    }
}

/// `side·to/from`, rounded up, so that what is cropped to has no border.
fn fitted(side: usize, to: usize, from: usize) -> usize {
    usize::try_from((side as u128 * to as u128).div_ceil(from as u128)).unwrap_or(usize::MAX)
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let Some((path, label)) = self.files.get(index) else {
            return Err(DataError::index(index, self.files.len()));
        };
        Ok(Sample { input: read_image(path)?, target: Target::Class(*label) })
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn origin(&self, index: usize) -> String {
        self.files.get(index).map_or_else(|| format!("sample {index}"), |(path, _)| path.display().to_string())
    }
}
