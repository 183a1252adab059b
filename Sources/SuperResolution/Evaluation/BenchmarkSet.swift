import Foundation

/// The pictures that a model is measured on: originals, and their small versions where there are files
/// of them.
///
/// A folder is one of these:
/// - originals in `HR`, small ones in `LR_bicubic/X2` and the like, named `babyx2.png` or `baby.png`;
/// - originals in `HR`, or in the folder itself, alone: the small ones are made by bicubic reduction;
/// - pairs `baby_HR.png` and `baby_LR.png`.
///
/// Names are sorted naturally: `img_2` before `img_10`. Names that begin with a dot are left out.
public struct BenchmarkSet: Hashable, Sendable {
  /// An original, and the small picture of it where there is one.
  public struct Entry: Hashable, Sendable {
    /// What reports call the picture.
    public let name: String
    /// The original's file.
    public let originalPath: String
    /// `nil` when the small picture is made from the original.
    public let reducedPath: String?
  }

  /// The folder.
  public let path: String
  /// How many times smaller the small pictures are.
  public let scale: Int
  /// The folder of the small pictures, below `path`; `nil` when they are made or stand beside.
  public let reducedFolder: String?
  /// In natural order of their names.
  public let entries: [Entry]

  /// Lists the pictures of a folder; none is read.
  ///
  /// - Throws: `SuperResolutionError` when the folder is none of those above, a partner is missing, or
  ///   two files claim the same name.
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
      throw SuperResolutionError("there is no PNG or JPEG file in it", path: originals.path)
    }
    guard folder.below("LR_bicubic").exists else {
      reducedFolder = nil
      entries = files.map { .init(name: $0.stem, originalPath: $0.path, reducedPath: nil) }
      return
    }
    let name = "LR_bicubic/X\(scale)"
    let reduced = folder.below(name)
    guard reduced.exists else {
      throw SuperResolutionError(
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
        throw SuperResolutionError(
          "its partner '\(original.stem)x\(scale).png' is missing in \(folder.path)",
          path: original.path)
      }
      return Entry(
        name: original.stem, originalPath: original.path, reducedPath: partner.path)
    }
    if let lone = reduced.first(where: { rest[$0.stem] != nil }) {
      throw SuperResolutionError("there is no original for it in 'HR'", path: lone.path)
    }
    return entries
  }

  /// The pictures of a folder without `HR`.
  private static func entries(in folder: PictureFolder) throws -> [Entry] {
    let files = try folder.pictures()
    guard !files.isEmpty else {
      throw SuperResolutionError(
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
        throw SuperResolutionError(
          "it is neither named '…\(original)' nor '…\(small)', as others here are", path: file.path)
      }
      let name = String(file.stem.dropLast(original.count))
      guard let partner = byStem[name + (isOriginal ? small : original)] else {
        throw SuperResolutionError(
          "its partner '\(name)\(isOriginal ? small : original)' is missing", path: file.path)
      }
      guard isOriginal else { continue }
      entries.append(.init(name: name, originalPath: file.path, reducedPath: partner.path))
    }
    return entries
  }
}

/// A folder with picture files.
struct PictureFolder {
  struct File {
    let path: String
    /// The name without extension.
    let stem: String
  }

  let path: String

  init(_ path: String) {
    self.path = path
  }

  func below(_ name: String) -> PictureFolder {
    PictureFolder((path as NSString).appendingPathComponent(name))
  }

  var exists: Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
      && isFolder.boolValue
  }

  /// The PNG and JPEG files by their extensions, in natural order; no two have the same stem.
  func pictures() throws -> [File] {
    guard exists else { throw SuperResolutionError("there is no such folder", path: path) }
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw SuperResolutionError("the folder cannot be read", path: path)
    }
    let files = names.filter { !$0.hasPrefix(".") && ImageFormat(path: $0) != nil }
      .sorted { NaturalOrder($0) < NaturalOrder($1) }
      .map { name in
        File(
          path: (path as NSString).appendingPathComponent(name),
          stem: (name as NSString).deletingPathExtension)
      }
    var stems: Set<String> = []
    for file in files where !stems.insert(file.stem).inserted {
      throw SuperResolutionError("there is another picture of that name", path: file.path)
    }
    return files
  }
}
