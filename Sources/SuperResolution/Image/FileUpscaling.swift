import FoundationEssentials
import Imaging
import Storage

/// Upscales image files, one after another.
package struct FileUpscaling {
  /// Quality of JPEG files, 1 to 100.
  private let quality: Int
  private let replacesExisting: Bool
  private let access: InputFile.Access
  private let upscaler: (RasterImage) throws -> any Upscaler

  /// - Parameter upscaler: returns the upscaler for an image; called once that is read.
  package init(
    quality: Int, replacesExisting: Bool, access: InputFile.Access,
    by upscaler: @escaping (RasterImage) throws -> any Upscaler
  ) {
    self.quality = quality
    self.replacesExisting = replacesExisting
    self.access = access
    self.upscaler = upscaler
  }

  /// Upscales one file to the format that the output's extension says. The output appears whole or
  /// not at all.
  ///
  /// - Parameter name: the input's name in errors and in the result, if not its path.
  /// - Throws: `ModelError` when the image cannot be read, upscaled or written, and the errors of
  ///   the upscaler.
  package func upscale(
    _ input: String, named name: String? = nil, to output: String,
    progress: (@Sendable (Double) -> Void)? = nil
  ) throws -> UpscaledImage {
    let name = name ?? input
    guard let format = ImageFormat(path: output) else {
      throw ModelError("it must end in .png, .jpg or .jpeg", path: output)
    }
    // Obstacles are found before the work.
    var writer = try AtomicFileWriter(path: output, replacesExisting: replacesExisting)
    let original = try RasterImage(contentsOf: input, access: access)
    try locatingErrors(path: name) { try format.check(original) }
    let (image, omissions) = format.fitted(original)
    let upscaler = try upscaler(image)
    let result = try locatingErrors(path: name) {
      try format.check(image, scale: upscaler.scale)
      return try RasterUpscaling(upscaler).upscale(image, progress: progress)
    }
    try writer.append(
      try locatingErrors(path: output) { try result.encoded(as: format, quality: quality) })
    try writer.finish()
    return UpscaledImage(
      input: name, output: output, scale: upscaler.scale, width: result.width,
      height: result.height, omissions: original.omissions + omissions)
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
      throw ModelError("there is no PNG or JPEG file in it", path: folder)
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
