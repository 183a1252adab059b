import Formats

/// The kinds of picture files that are read and written.
public enum ImageFormat: String, Sendable, CaseIterable {
  case png, jpeg

  /// The format that a file name's extension stands for: `.png`, `.jpg` or `.jpeg`, in any case.
  public init?(path: String) {
    let name = path.split(separator: "/").last ?? ""
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return nil }
    switch name[name.index(after: dot)...].lowercased() {
    case "png": self = .png
    case "jpg", "jpeg": self = .jpeg
    default: return nil
    }
  }

  /// Whether an image of this kind can be written, `scale` times as wide and high: to be asked before
  /// the work.
  ///
  /// - Throws: `SuperResolutionError` when the format cannot hold such an image.
  public func check(_ image: RasterImage, scale: Int = 1) throws {
    guard self == .jpeg else { return }
    if image.hasAlpha || image.bitDepth == .sixteen {
      throw SuperResolutionError(
        "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
    }
    let side = max(image.width, image.height).multipliedReportingOverflow(by: scale)
    if side.overflow || side.partialValue > JPEGCodec.sideLimit {
      throw SuperResolutionError(
        "a JPEG file has at most \(JPEGCodec.sideLimit) pixels a side; write a PNG file instead")
    }
  }

  /// The image with those of its tags that a file of this format can hold, and what was left out for
  /// that.
  package func fitted(_ image: RasterImage) -> (image: RasterImage, omissions: [ImageOmission]) {
    var fitted = image
    switch self {
    case .jpeg:
      let (tags, omissions) = JPEGCodec.fitted(image.tags, channelCount: image.colorChannelCount)
      fitted.tags = tags
      return (fitted, omissions)
    case .png:
      guard image.tags.profile != nil else { return (image, []) }
      // libpng is stricter with the colour profiles that it writes than with those that it reads; an
      // image of one pixel tells what it says.
      do {
        _ = try PNGCodec.encode(
          RasterImage(
            width: 1, height: 1, channelCount: image.channelCount, bitDepth: image.bitDepth,
            samples: [UInt16](repeating: 0, count: image.channelCount), tags: image.tags))
        return (image, [])
      } catch {
        fitted.tags.profile = nil
        let reason = (error as? SuperResolutionError)?.reason ?? "\(error)"
        return (fitted, [ImageOmission("the colour profile", reason)])
      }
    }
  }
}

extension RasterImage {
  /// Reads a PNG or JPEG file, which of them by its first bytes.
  ///
  /// - Throws: `SuperResolutionError` without a path when the bytes are neither, damaged, cut off, or
  ///   exceed `pixelLimit`.
  public init(parsing bytes: SharedBytes) throws {
    let start = bytes.slice(0..<min(bytes.count, PNGCodec.signature.count)).array
    if start == PNGCodec.signature {
      self = try PNGCodec.decode(bytes)
    } else if start.starts(with: JPEGCodec.signature) {
      self = try JPEGCodec.decode(bytes)
    } else {
      throw SuperResolutionError(
        bytes.isEmpty ? "it is empty, no picture" : "it is neither a PNG nor a JPEG file")
    }
  }

  /// Reads a PNG or JPEG file, recognized by its content.
  ///
  /// - Throws: `FormatError` when the file cannot be read, `SuperResolutionError` with its path when it
  ///   holds no picture that can be read.
  public init(contentsOf path: String, access: InputFile.Access = .mapped) throws {
    let file = try InputFile(path: path, access: access)
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "a picture")
    do {
      try self.init(parsing: bytes)
    } catch var error as SuperResolutionError {
      // What is wrong with missing pages is that they are missing.
      try SignalHandlers.checkInputs()
      error.path = path
      throw error
    }
  }

  /// The image as a file of `format`, with as much of what is known of its colours as that can hold.
  ///
  /// - Parameter quality: of JPEG, 1 to 100.
  /// - Throws: `SuperResolutionError` when the format cannot hold the image.
  public func encoded(as format: ImageFormat, quality: Int = 95) throws -> SharedBytes {
    try format.check(self)
    let image = format.fitted(self).image
    switch format {
    case .png: return try PNGCodec.encode(image)
    case .jpeg: return try JPEGCodec.encode(image, quality: quality)
    }
  }
}
