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

  /// Whether pictures of this kind, with these tags, can be written: to be asked before the work.
  ///
  /// - Throws: `SuperResolutionError` when the format cannot hold such a picture.
  public func check(_ image: RasterImage) throws {
    switch self {
    case .png:
      // libpng is stricter with the colour profiles that it writes than with those that it reads;
      // a picture of one pixel tells what it says.
      guard image.tags.profile != nil else { return }
      _ = try PNGCodec.encode(
        RasterImage(
          width: 1, height: 1, channelCount: image.channelCount, bitDepth: image.bitDepth,
          samples: [UInt16](repeating: 0, count: image.channelCount), tags: image.tags))
    case .jpeg:
      guard image.hasAlpha || image.bitDepth == .sixteen else { return }
      throw SuperResolutionError(
        "a JPEG file holds neither alpha nor 16 bits a sample; write a PNG file instead")
    }
  }
}

extension RasterImage {
  /// Reads a PNG or JPEG file, which of them by its first bytes.
  ///
  /// - Throws: `SuperResolutionError` without a path when the bytes are neither, damaged, cut off, or
  ///   exceed `sideLimit` or `pixelLimit`.
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

  /// The picture as a file of `format`.
  ///
  /// - Parameter quality: of JPEG, 1 to 100.
  /// - Throws: `SuperResolutionError` when the format cannot hold the picture.
  public func encoded(as format: ImageFormat, quality: Int = 95) throws -> SharedBytes {
    switch format {
    case .png: return try PNGCodec.encode(self)
    case .jpeg:
      try format.check(self)
      return try JPEGCodec.encode(self, quality: quality)
    }
  }
}
