import Storage

/// The image file formats that can be read and written.
///
/// ```swift
/// let image = try RasterImage(contentsOf: "scan.png")
/// let format = ImageFormat(path: "small.jpg") ?? .png
/// try format.check(image)  // throws for 16 bits and transparency
/// print(try image.encoded(as: format, quality: 90).count)
/// ```
public enum ImageFormat: String, Sendable, CaseIterable {
  case png, jpeg, webp

  /// The extensions of file names, in lower case and without the dot.
  package var extensions: [String] {
    switch self {
    case .png: ["png"]
    case .jpeg: ["jpg", "jpeg"]
    case .webp: ["webp"]
    }
  }

  /// The format's name: `PNG`, `JPEG` or `WebP`.
  package var name: String {
    switch self {
    case .png: "PNG"
    case .jpeg: "JPEG"
    case .webp: "WebP"
    }
  }

  /// The formats' names in a sentence: `PNG, JPEG or WebP`.
  package static let names = "PNG, JPEG or WebP"

  /// All extensions in a sentence: `.png, .jpg, .jpeg or .webp`.
  package static let extensionList = ".png, .jpg, .jpeg or .webp"

  /// Creates the format for a file name's extension: `.png`, `.jpg`, `.jpeg` or `.webp`, in any case.
  public init?(path: String) {
    let name = path.split(separator: "/").last ?? ""
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return nil }
    let suffix = name[name.index(after: dot)...].lowercased()
    guard let format = Self.allCases.first(where: { $0.extensions.contains(suffix) }) else {
      return nil
    }
    self = format
  }

  /// The longest side of an image in pixels.
  private var sideLimit: Int {
    switch self {
    case .png: Int(Int32.max)
    case .jpeg: JPEGCodec.sideLimit
    case .webp: WebPCodec.sideLimit
    }
  }

  /// Checks that `image`, upscaled by `scale`, can be written in this format. Call it before the
  /// work.
  ///
  /// - Throws: `ModelError` if the format cannot hold such an image.
  public func check(_ image: RasterImage, scale: Int = 1) throws {
    if self == .jpeg, image.hasAlpha || image.bitDepth == .sixteen {
      throw ModelError(
        "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
    }
    if self == .webp, image.bitDepth == .sixteen {
      throw ModelError("a WebP file holds 8 bits a sample, not 16; write a PNG file instead")
    }
    let side = max(image.width, image.height).multipliedReportingOverflow(by: scale)
    if side.overflow || side.partialValue > sideLimit {
      throw ModelError(
        "a \(name) file has at most \(sideLimit) pixels a side"
          + (self == .png ? "" : "; write a PNG file instead"))
    }
  }

  /// Whether a file is written row by row, rather than at the end.
  package var isStreamed: Bool { self != .webp }

  /// Returns the image with only the tags that a file of this format can hold, and the omissions.
  package func fitted(_ image: RasterImage) -> (image: RasterImage, omissions: [ImageOmission]) {
    var fitted = image
    switch self {
    case .jpeg:
      let (tags, omissions) = JPEGCodec.fitted(image.tags, channelCount: image.colorChannelCount)
      fitted.tags = tags
      return (fitted, omissions)
    case .webp:
      let (tags, omissions) = WebPCodec.fitted(image.tags)
      fitted.tags = tags
      return (fitted, omissions)
    case .png:
      guard image.tags.profile != nil else { return (image, []) }
      // libpng is stricter with colour profiles when writing than when reading; encoding one pixel
      // reveals its verdict.
      do {
        let pixel = RasterImage(
          width: 1, height: 1, channelCount: image.channelCount, bitDepth: image.bitDepth,
          samples: [UInt16](repeating: 0, count: image.channelCount), tags: image.tags)
        _ = try ImageEncoder(pixel.layout, as: .png, quality: nil)
        return (image, [])
      } catch {
        fitted.tags.profile = nil
        let reason = (error as? ModelError).map { "\($0.problem)" } ?? "\(error)"
        return (fitted, [ImageOmission("the colour profile", reason)])
      }
    }
  }
}

extension RasterImage {
  /// Decodes a PNG, JPEG or WebP file, recognized by its first bytes.
  ///
  /// - Throws: `ModelError` without a path if the bytes are none of these, damaged or truncated, or
  ///   exceed `pixelLimit`.
  public init(parsing bytes: SharedBytes) throws {
    let start = bytes.slice(0..<min(bytes.count, 12)).array
    if start.starts(with: PNGCodec.signature) {
      self = try PNGCodec.decode(bytes)
    } else if start.starts(with: JPEGCodec.signature) {
      self = try JPEGCodec.decode(bytes)
    } else if WebPCodec.isSignature(start) {
      self = try WebPCodec.decode(bytes)
    } else {
      throw ModelError(
        bytes.isEmpty ? "it is empty" : "it is neither a PNG nor a JPEG nor a WebP file")
    }
  }

  /// Reads a PNG, JPEG or WebP file, recognized by its content.
  ///
  /// - Throws: `ModelError` with the path if the file cannot be read or holds no readable image.
  public init(contentsOf path: String, access: InputFile.Access = .mapped) throws {
    let file = try InputFile(path: path, access: access)
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "an image")
    do {
      try self.init(parsing: bytes)
    } catch let error as ModelError {
      // Missing pages are the more specific error.
      try SignalHandlers.checkInputs()
      throw error.located(path: path)
    }
  }

  /// Returns the image as a file of `format`, with as many of its tags as the format can hold.
  ///
  /// - Parameter quality: The quality of a lossy file, 1 to 100; without it JPEG files have 95, and
  ///   WebP files lose nothing.
  /// - Throws: `ModelError` if the format cannot hold the image.
  public func encoded(as format: ImageFormat, quality: Int? = nil) throws -> SharedBytes {
    try format.check(self)
    let image = format.fitted(self).image
    let encoder = try ImageEncoder(image.layout, as: format, quality: quality)
    var bytes: [UInt8] = []
    try encoder.add(image) { bytes += $0 }
    try encoder.finish { bytes += $0 }
    return SharedBytes(bytes)
  }
}
