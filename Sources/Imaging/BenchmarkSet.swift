import FoundationEssentials
import Storage

/// The images that a model is evaluated on: high-resolution images, and low-resolution images if
/// the folder has them.
///
/// A folder has one of these layouts:
/// - high-resolution images in `HR`, low-resolution images in `LR_bicubic/X2` or similar, named
///   `babyx2.png` or `baby.png`;
/// - only high-resolution images, in `HR` or in the folder itself, which are downscaled
///   bicubically;
/// - pairs `baby_HR.png` and `baby_LR.png`.
///
/// Names are sorted naturally: `img_2` before `img_10`. Names that begin with a dot are ignored.
public struct BenchmarkSet: Hashable, Sendable {
  /// A high-resolution image and its low-resolution image, if there is one.
  public struct Entry: Hashable, Sendable {
    /// The image's name in reports.
    public let name: String
    /// The path of the high-resolution image.
    public let originalPath: String
    /// The path of the low-resolution image; `nil` if it is made from the high-resolution image.
    public let reducedPath: String?
  }

  /// The path of the folder.
  public let path: String
  /// The factor between high and low resolution.
  public let scale: Int
  /// The folder of low-resolution images, below `path`; `nil` if they are made, or are stored
  /// beside the others.
  public let reducedFolder: String?
  /// The entries in the natural order of their names.
  public let entries: [Entry]

  /// Lists the images in a folder without reading them.
  ///
  /// - Throws: `ModelError` if the folder has none of the layouts above, a partner is missing, or
  ///   two files have the same name.
  public init(folder path: String, scale: Int) throws {
    precondition(scale > 0, "a scale is positive")
    self.path = path
    self.scale = scale
    let folder = PictureFolder(path)
    let originals = folder.below("HR")
    guard originals.exists else {
      reducedFolder = nil
      entries = try Self.entries(in: folder)
      return
    }
    let files = try originals.pictures()
    guard !files.isEmpty else {
      throw ModelError("there is no PNG or JPEG file in it", path: originals.path)
    }
    guard folder.below("LR_bicubic").exists else {
      reducedFolder = nil
      entries = files.map { .init(name: $0.stem, originalPath: $0.path, reducedPath: nil) }
      return
    }
    let name = "LR_bicubic/X\(scale)"
    let reduced = folder.below(name)
    guard reduced.exists else {
      throw ModelError(
        "there is no folder '\(name)' for scale \(scale), though there is 'LR_bicubic'",
        path: path)
    }
    reducedFolder = name
    entries = try Self.pairing(files, with: try reduced.pictures(), in: reduced, scale: scale)
  }

  private static func pairing(
    _ originals: [PictureFolder.File], with reduced: [PictureFolder.File],
    in folder: PictureFolder, scale: Int
  ) throws -> [Entry] {
    var rest = Dictionary(uniqueKeysWithValues: reduced.map { ($0.stem, $0) })
    let entries = try originals.map { original in
      guard
        let partner = rest.removeValue(forKey: "\(original.stem)x\(scale)")
          ?? rest.removeValue(forKey: original.stem)
      else {
        throw ModelError(
          "its partner '\(original.stem)x\(scale).png' is missing in \(folder.path)",
          path: original.path)
      }
      return Entry(
        name: original.stem, originalPath: original.path, reducedPath: partner.path)
    }
    if let lone = reduced.first(where: { rest[$0.stem] != nil }) {
      throw ModelError("there is no original for it in 'HR'", path: lone.path)
    }
    return entries
  }

  /// Returns the images of a folder without `HR`.
  private static func entries(in folder: PictureFolder) throws -> [Entry] {
    let files = try folder.pictures()
    guard !files.isEmpty else {
      throw ModelError(
        "there is neither a folder 'HR' nor a PNG or JPEG file in it", path: folder.path)
    }
    let (original, small) = ("_HR", "_LR")
    guard files.contains(where: { $0.stem.hasSuffix(original) || $0.stem.hasSuffix(small) }) else {
      return files.map { .init(name: $0.stem, originalPath: $0.path, reducedPath: nil) }
    }
    let byStem = Dictionary(uniqueKeysWithValues: files.map { ($0.stem, $0) })
    var entries: [Entry] = []
    for file in files {
      let isOriginal = file.stem.hasSuffix(original)
      guard isOriginal || file.stem.hasSuffix(small) else {
        throw ModelError(
          "it is neither named '…\(original)' nor '…\(small)', as others here are", path: file.path)
      }
      let name = String(file.stem.dropLast(original.count))
      guard let partner = byStem[name + (isOriginal ? small : original)] else {
        throw ModelError(
          "its partner '\(name)\(isOriginal ? small : original)' is missing", path: file.path)
      }
      guard isOriginal else { continue }
      entries.append(.init(name: name, originalPath: file.path, reducedPath: partner.path))
    }
    return entries
  }
}

/// A folder with image files.
struct PictureFolder {
  struct File {
    let path: String
    /// The name without its extension.
    let stem: String
  }

  let path: String

  init(_ path: String) {
    self.path = path
  }

  func below(_ name: String) -> PictureFolder {
    PictureFolder(path.appendingPathComponent(name))
  }

  var exists: Bool { path.isFolder }

  /// Returns the PNG and JPEG files, selected by extension, in natural order. Their stems are
  /// distinct.
  func pictures() throws -> [File] {
    guard exists else { throw ModelError("there is no such folder", path: path) }
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw ModelError("the folder cannot be read", path: path)
    }
    let files = names.filter { !$0.hasPrefix(".") && ImageFormat(path: $0) != nil }
      .sorted { NaturalOrder($0) < NaturalOrder($1) }
      .map { name in
        File(
          path: path.appendingPathComponent(name),
          stem: name.pathStem)
      }
    var stems: Set<String> = []
    for file in files where !stems.insert(file.stem).inserted {
      throw ModelError("there is another picture of that name", path: file.path)
    }
    return files
  }
}

/// A natural order of file names, in which `img_2` precedes `img_10`; the same on every system.
///
/// Runs of ASCII digits compare as numbers, everything else by Unicode scalars. Names that differ
/// only in leading zeros compare by scalars.
struct NaturalOrder: Comparable {
  private let name: String
  private let parts: [Part]

  private enum Part: Equatable {
    case text(String)
    /// Digits without leading zeros; the longer number is the larger.
    case number(String)
  }

  init(_ name: String) {
    self.name = name
    var parts: [Part] = []
    var rest = Substring(name)
    while let first = rest.unicodeScalars.first {
      let isNumber = Self.isDigit(first)
      let run = rest.unicodeScalars.prefix { Self.isDigit($0) == isNumber }
      let text = String(run)
      parts.append(isNumber ? .number(String(text.drop { $0 == "0" })) : .text(text))
      rest = rest[run.endIndex...]
    }
    self.parts = parts
  }

  static func < (a: NaturalOrder, b: NaturalOrder) -> Bool {
    for (x, y) in zip(a.parts, b.parts) where x != y {
      switch (x, y) {
      case (.number(let x), .number(let y)):
        return x.count == y.count ? precedes(x, y) : x.count < y.count
      case (.text(let x), .text(let y)): return precedes(x, y)
      case (.number, .text): return true
      case (.text, .number): return false
      }
    }
    return a.parts.count == b.parts.count
      ? precedes(a.name, b.name) : a.parts.count < b.parts.count
  }

  private static func precedes(_ a: String, _ b: String) -> Bool {
    a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
}

/// A high-resolution image and its low-resolution image, loaded for evaluation.
package struct PicturePair {
  package let name: String
  /// 8-bit RGB without alpha; its sides are multiples of the scale.
  package let original: RasterImage
  package let reduced: RasterImage
  private let scale: Int
  private let originalPath: String
  private let reducedPath: String

  /// Loads the images of `entry`, downscaling the high-resolution image if there is no other.
  ///
  /// - Throws: `ModelError` with the path of an image that is too small or does not match its
  ///   partner, or any error of reading.
  package init(_ entry: BenchmarkSet.Entry, scale: Int) throws {
    let whole = try RasterImage(contentsOf: entry.originalPath)
    guard let cropped = whole.cropped(toMultipleOf: scale) else {
      throw ModelError(
        "its \(whole.sizeText) pixels are too few for scale \(scale)", path: entry.originalPath)
    }
    name = entry.name
    originalPath = entry.originalPath
    reducedPath = entry.reducedPath ?? entry.originalPath
    self.scale = scale
    // BasicSR also reads everything as RGB. A model for grey images gets their luma.
    original = cropped.asEightBit.asRGB
    guard let path = entry.reducedPath else {
      reduced = BicubicResampling().reduced(original, by: scale)
      return
    }
    reduced = try RasterImage(contentsOf: path).asEightBit.asRGB
    guard reduced.width * scale == original.width, reduced.height * scale == original.height else {
      throw ModelError(
        "its \(reduced.sizeText) pixels times \(scale) are not the \(original.sizeText) of "
          + entry.originalPath, path: path)
    }
  }

  /// Returns PSNR and SSIM, excluding a border of `scale` pixels.
  package func compare(_ result: LumaPlane, with original: LumaPlane) throws -> (
    psnr: Double, ssim: Double
  ) {
    let least = PictureFidelity.windowSide
    guard let a = result.trimmed(by: scale), let b = original.trimmed(by: scale),
      a.height >= least, a.width >= least
    else {
      throw ModelError(
        "its \(original.width)×\(original.height) pixels are too few: without a border of \(scale), "
          + "SSIM needs \(least)×\(least)", path: originalPath)
    }
    return (
      PictureFidelity.peakSignalToNoise(a, b), PictureFidelity.structuralSimilarity(a, b)
    )
  }

  /// Adds the image's path to errors of a model, which does not know it.
  package func locatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
    try Storage.locatingErrors(path: reducedPath, body)
  }
}
