import FoundationEssentials
import Imaging
import Storage

/// Upscales image files, one after another.
package struct FileUpscaling {
  /// Quality of lossy files, 1 to 100; `nil` for the format's own.
  private let quality: Int?
  /// The side of tiles in pixels; `nil` for the largest that fit the memory.
  private let tileSize: Int?
  private let replacesExisting: Bool
  private let access: InputFile.Access
  private let upscaler: (RasterImage) throws -> any Upscaler

  /// - Parameter upscaler: returns the upscaler for an image; called once that is read.
  package init(
    quality: Int?, tileSize: Int?, replacesExisting: Bool, access: InputFile.Access,
    by upscaler: @escaping (RasterImage) throws -> any Upscaler
  ) {
    self.quality = quality
    self.tileSize = tileSize
    self.replacesExisting = replacesExisting
    self.access = access
    self.upscaler = upscaler
  }

  /// How far the upscaling of an image is.
  package struct Progress: Sendable {
    /// The completed share, from 0 to 1.
    package let share: Double
    /// The number of the tile that is upscaled, from 1, and the number of tiles.
    package let tile: Int
    package let tileCount: Int
  }

  /// Upscales one file to the format that the output's extension says, row by row as tiles are made
  /// where the format allows it. The output appears whole or not at all.
  ///
  /// - Parameters:
  ///   - name: the input's name in errors and in the result, if not its path.
  ///   - announce: called with the tiles of a network before the work.
  /// - Throws: `ModelError` when the image cannot be read, upscaled or written, and the errors of
  ///   the upscaler.
  package func upscale(
    _ input: String, named name: String? = nil, to output: String,
    announcing announce: (TileChoice) -> Void = { _ in },
    progress: (@Sendable (Progress) -> Void)? = nil
  ) throws -> UpscaledImage {
    let name = name ?? input
    guard let format = ImageFormat(path: output) else {
      throw ModelError("it must end in \(ImageFormat.extensionList)", path: output)
    }
    // Obstacles are found before the work.
    var writer = try AtomicFileWriter(path: output, replacesExisting: replacesExisting)
    let original = try RasterImage(contentsOf: input, access: access)
    try locatingErrors(path: name) { try format.check(original) }
    let (image, omissions) = format.fitted(original)
    let (upscaler, choice) = try upscaler(image).tiled(
      for: image, as: format, given: tileSize, within: .current())
    try locatingErrors(path: name) { try format.check(image, scale: upscaler.scale) }
    if let choice { announce(choice) }
    let layout = image.layout(upscaledBy: upscaler.scale)
    let encoder = try locatingErrors(path: output) {
      try ImageEncoder(layout, as: format, quality: quality)
    }
    let tileCount = choice?.count ?? 1
    let report: (@Sendable (Double) -> Void)? = progress.map { report in
      { @Sendable (share: Double) -> Void in
        let tile = min(tileCount, Int(share * Double(tileCount)) + 1)
        report(Progress(share: share, tile: tile, tileCount: tileCount))
      }
    }
    let upscaling = RasterUpscaling(upscaler)
    try locatingErrors(path: name) {
      try upscaling.upscaleBands(of: image, progress: report) { band in
        try locatingErrors(path: output) { try encoder.add(band) { try writer.append($0) } }
      }
    }
    try locatingErrors(path: output) { try encoder.finish { try writer.append($0) } }
    try writer.finish()
    return UpscaledImage(
      input: name, output: output, scale: upscaler.scale, width: layout.width,
      height: layout.height, tiles: choice, omissions: original.omissions + omissions)
  }

  /// Returns the images of a folder, each with the path of its output: the same name in another
  /// folder, which is created if it does not exist.
  ///
  /// - Throws: `ModelError` when a folder cannot be read or made, when there is no image, when the
  ///   folders are the same, and when an output exists that may not be replaced.
  package func files(
    of folder: String, to outputFolder: String
  ) throws -> [(input: String, output: String)] {
    let files = try ImageFileFolder(folder).files()
    guard !files.isEmpty else {
      throw ModelError("there is no \(ImageFormat.names) file in it", path: folder)
    }
    do {
      try FileManager.default.createDirectory(
        atPath: outputFolder, withIntermediateDirectories: true)
    } catch {
      throw ModelError("the folder cannot be made", path: outputFolder)
    }
    func resolved(_ path: String) -> String {
      URL(filePath: path).resolvingSymlinksInPath().path
    }
    guard resolved(folder) != resolved(outputFolder) else {
      throw ModelError("it is the folder of the images to upscale", path: outputFolder)
    }
    return try files.map { file in
      let output = outputFolder.appendingPathComponent(
        file.path.split(separator: "/").last.map(String.init) ?? file.path)
      try OutputDestination.check(output, replacesExisting: replacesExisting)
      return (file.path, output)
    }
  }
}
