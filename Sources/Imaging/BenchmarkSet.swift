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
/// Low-resolution images may also come from a folder of their own, such as degraded images that a
/// network of scale 1 restores. They have the names of the high-resolution images, and perhaps another
/// extension.
///
/// Names are sorted naturally: `img_2` before `img_10`. Names that begin with a dot are ignored.
///
/// ```swift
/// let set = try BenchmarkSet(folder: "Set5", scale: 2)
/// for entry in set.entries {
///   print(entry.name, entry.highResolutionPath, entry.lowResolutionPath ?? "made bicubically")
/// }
/// ```
public struct BenchmarkSet: Hashable, Sendable {
  /// A high-resolution image and its low-resolution image, if there is one.
  public struct Entry: Hashable, Sendable {
    /// The image's name in reports.
    public let name: String
    /// The path of the high-resolution image.
    public let highResolutionPath: String
    /// The path of the low-resolution image; `nil` if it is made from the high-resolution image.
    public let lowResolutionPath: String?
  }

  /// The path of the folder.
  public let path: String
  /// The factor between high and low resolution.
  public let scale: Int
  /// The folder of low-resolution images, below `path`; `nil` if they are made, or are stored
  /// beside the others.
  public let lowResolutionFolder: String?
  /// The folder from which the low-resolution images come instead; `nil` for those of the set.
  public let degradedFolder: String?
  /// The entries in the natural order of their names.
  public let entries: [Entry]

  /// Lists the images in a folder without reading them.
  ///
  /// - Parameter degradedFolder: A folder with a low-resolution image for every high-resolution one,
  ///   which replaces those of the set.
  /// - Throws: `ModelError` if the folder has none of the layouts above, a partner is missing, or
  ///   two files have the same name.
  public init(folder path: String, scale: Int, degradedFolder: String? = nil) throws {
    precondition(scale > 0, "a scale is positive")
    self.path = path
    self.scale = scale
    self.degradedFolder = degradedFolder
    let folder = ImageFileFolder(path)
    let highResolution = folder.below("HR")
    if let degradedFolder {
      let references = highResolution.exists ? highResolution : folder
      let files = try references.files()
      guard !files.isEmpty else {
        throw ModelError("there is no \(ImageFormat.names) file in it", path: references.path)
      }
      let degraded = ImageFileFolder(degradedFolder)
      lowResolutionFolder = nil
      entries = try Self.pairing(
        files, with: try degraded.files(), in: degraded, of: references.path, names: { [$0] })
      return
    }
    guard highResolution.exists else {
      lowResolutionFolder = nil
      entries = try Self.entries(in: folder)
      return
    }
    let files = try highResolution.files()
    guard !files.isEmpty else {
      throw ModelError("there is no \(ImageFormat.names) file in it", path: highResolution.path)
    }
    guard folder.below("LR_bicubic").exists else {
      lowResolutionFolder = nil
      entries = files.map {
        .init(name: $0.stem, highResolutionPath: $0.path, lowResolutionPath: nil)
      }
      return
    }
    let name = "LR_bicubic/X\(scale)"
    let lowResolution = folder.below(name)
    guard lowResolution.exists else {
      throw ModelError(
        "there is no folder '\(name)' for scale \(scale), though there is 'LR_bicubic'",
        path: path)
    }
    lowResolutionFolder = name
    entries = try Self.pairing(
      files, with: try lowResolution.files(), in: lowResolution, of: "HR",
      names: { ["\($0)x\(scale)", $0] })
  }

  /// - Parameters:
  ///   - origin: The name of the folder of the high-resolution images.
  ///   - names: Returns the names that the partner of an image may have.
  private static func pairing(
    _ highResolution: [ImageFileFolder.File], with lowResolution: [ImageFileFolder.File],
    in folder: ImageFileFolder, of origin: String, names: (_ stem: String) -> [String]
  ) throws -> [Entry] {
    var rest = Dictionary(uniqueKeysWithValues: lowResolution.map { ($0.stem, $0) })
    let entries = try highResolution.map { file in
      let names = names(file.stem)
      guard let partner = names.compactMap({ rest[$0] }).first else {
        throw ModelError(
          "its partner '\(names[0]).png' is missing in \(folder.path)", path: file.path)
      }
      rest[partner.stem] = nil
      return Entry(
        name: file.stem, highResolutionPath: file.path, lowResolutionPath: partner.path)
    }
    if let lone = lowResolution.first(where: { rest[$0.stem] != nil }) {
      throw ModelError("there is no high-resolution image for it in '\(origin)'", path: lone.path)
    }
    return entries
  }

  /// Returns the images of a folder without `HR`.
  private static func entries(in folder: ImageFileFolder) throws -> [Entry] {
    let files = try folder.files()
    guard !files.isEmpty else {
      throw ModelError(
        "there is neither a folder 'HR' nor a \(ImageFormat.names) file in it", path: folder.path)
    }
    let (high, low) = ("_HR", "_LR")
    guard files.contains(where: { $0.stem.hasSuffix(high) || $0.stem.hasSuffix(low) }) else {
      return files.map { .init(name: $0.stem, highResolutionPath: $0.path, lowResolutionPath: nil) }
    }
    let byStem = Dictionary(uniqueKeysWithValues: files.map { ($0.stem, $0) })
    var entries: [Entry] = []
    for file in files {
      let isHighResolution = file.stem.hasSuffix(high)
      guard isHighResolution || file.stem.hasSuffix(low) else {
        throw ModelError(
          "it is neither named '…\(high)' nor '…\(low)', as others here are", path: file.path)
      }
      let name = String(file.stem.dropLast(high.count))
      guard let partner = byStem[name + (isHighResolution ? low : high)] else {
        throw ModelError(
          "its partner '\(name)\(isHighResolution ? low : high)' is missing", path: file.path)
      }
      guard isHighResolution else { continue }
      entries.append(
        .init(name: name, highResolutionPath: file.path, lowResolutionPath: partner.path))
    }
    return entries
  }
}

/// A folder with image files.
package struct ImageFileFolder {
  package struct File {
    package let path: String
    /// The name without its extension.
    let stem: String
  }

  let path: String

  package init(_ path: String) {
    self.path = path
  }

  func below(_ name: String) -> ImageFileFolder {
    ImageFileFolder(path.appendingPathComponent(name))
  }

  var exists: Bool { path.isFolder }

  /// Returns the PNG, JPEG and WebP files, selected by extension, in natural order. Their stems are
  /// distinct.
  package func files() throws -> [File] {
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
      throw ModelError("there is another image of that name", path: file.path)
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
package struct ImagePair {
  package let name: String
  /// 8-bit RGB without alpha; its sides are multiples of the scale.
  package let highResolution: RasterImage
  package let lowResolution: RasterImage
  private let scale: Int
  private let highResolutionPath: String
  private let lowResolutionPath: String

  /// Loads the images of `entry`, downscaling the high-resolution image if there is no other.
  ///
  /// - Throws: `ModelError` with the path of an image that is too small or does not match its
  ///   partner, or any error of reading.
  package init(_ entry: BenchmarkSet.Entry, scale: Int) throws {
    let whole = try RasterImage(contentsOf: entry.highResolutionPath)
    guard let cropped = whole.cropped(toMultipleOf: scale) else {
      throw ModelError(
        "its \(whole.sizeText) pixels are too few for scale \(scale)",
        path: entry.highResolutionPath)
    }
    name = entry.name
    highResolutionPath = entry.highResolutionPath
    lowResolutionPath = entry.lowResolutionPath ?? entry.highResolutionPath
    self.scale = scale
    // BasicSR also reads everything as RGB. A model for grey images gets their luma.
    highResolution = cropped.asEightBit.asRGB
    guard let path = entry.lowResolutionPath else {
      lowResolution = BicubicResampling().downscaled(highResolution, by: scale)
      return
    }
    lowResolution = try RasterImage(contentsOf: path).asEightBit.asRGB
    guard lowResolution.width * scale == highResolution.width,
      lowResolution.height * scale == highResolution.height
    else {
      throw ModelError(
        "its \(lowResolution.sizeText) pixels times \(scale) are not the "
          + "\(highResolution.sizeText) of \(entry.highResolutionPath)", path: path)
    }
  }

  /// Returns PSNR and SSIM, excluding a border of `scale` pixels.
  package func compare(_ result: LumaPlane, with highResolution: LumaPlane) throws -> (
    psnr: Double, ssim: Double
  ) {
    let least = ImageFidelity.windowSide
    guard let a = result.trimmed(by: scale), let b = highResolution.trimmed(by: scale),
      a.height >= least, a.width >= least
    else {
      throw ModelError(
        "its \(highResolution.width)×\(highResolution.height) pixels are too few: without a "
          + "border of \(scale), SSIM needs \(least)×\(least)", path: highResolutionPath)
    }
    return (
      ImageFidelity.peakSignalToNoise(a, b), ImageFidelity.structuralSimilarity(a, b)
    )
  }

  /// Adds the image's path to errors of a model, which does not know it.
  package func locatingErrors<Result>(_ body: () throws -> Result) throws -> Result {
    try Storage.locatingErrors(path: lowResolutionPath, body)
  }
}
