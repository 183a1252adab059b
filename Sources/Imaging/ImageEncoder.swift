import CImageCodecs
import Storage

/// What an image file says of its image before the samples.
package struct ImageLayout: Hashable, Sendable {
  package let width: Int
  package let height: Int
  package let channelCount: Int
  package let bitDepth: RasterImage.BitDepth
  let tags: ImageTags
}

extension RasterImage {
  package var layout: ImageLayout {
    ImageLayout(
      width: width, height: height, channelCount: channelCount, bitDepth: bitDepth, tags: tags)
  }

  /// Returns the layout of the image upscaled by `scale`.
  ///
  /// - Precondition: The format's check has accepted it, so that nothing overflows.
  package func layout(upscaledBy scale: Int) -> ImageLayout {
    ImageLayout(
      width: width * scale, height: height * scale, channelCount: channelCount,
      bitDepth: bitDepth, tags: tags.upscaled(by: scale))
  }
}

/// Makes an image file from bands of its rows.
///
/// The bytes are the same for one version of the codec's library, however the rows are divided: without
/// dates or texts; PNG files at deflate level 6 and not interlaced, JPEG files without chroma
/// subsampling.
package final class ImageEncoder {
  private let layout: ImageLayout
  private let formatName: String
  private let handle: OpaquePointer

  /// - Parameter quality: As for `RasterImage.encoded`.
  /// - Precondition: The format's check has accepted the image, and the tags are fitted.
  /// - Throws: `ModelError` for a colour profile that libpng refuses to write; see
  ///   `ImageFormat.fitted`.
  package init(_ layout: ImageLayout, as format: ImageFormat, quality: Int?) throws {
    self.layout = layout
    formatName = format.name
    let create =
      switch format {
      case .png: condi_png_writer_create
      case .jpeg: condi_jpeg_writer_create
      case .webp: condi_webp_writer_create
      }
    var handle: OpaquePointer?
    try Self.catching(format.name) { message in
      layout.tags.withTags(for: format) { tags in
        var image = condi_image_description(
          width: UInt32(layout.width), height: UInt32(layout.height),
          channels: Int32(layout.channelCount), bit_depth: Int32(layout.bitDepth.rawValue),
          quality: Int32(quality ?? (format == .webp ? 0 : 95)), tags: tags)
        handle = create(&image, message)
      }
      return handle == nil ? 0 : 1
    }
    guard let handle else { throw ModelError("there is not enough memory") }
    self.handle = handle
  }

  deinit { condi_image_writer_destroy(handle) }

  private static func catching(
    _ name: String, _ body: (CodecMessage.Buffer) -> Int32
  ) throws {
    try CodecMessage.catching(body) { "it cannot become a \(name) file: \($0)" }
  }

  /// Adds the rows of `band`, and gives `write` what there is of the file since the last call.
  ///
  /// - Precondition: The band has the width, the channels and the bit depth of the layout.
  /// - Throws: `ModelError` if memory is exhausted, and the errors of `write`.
  package func add(_ band: RasterImage, _ write: ([UInt8]) throws -> Void) throws {
    precondition(
      (band.width, band.channelCount, band.bitDepth)
        == (layout.width, layout.channelCount, layout.bitDepth), "a band of another image")
    let stride = band.width * band.channelCount
    // A few rows at once: few enough that copies of samples and of the file stay small.
    let rowCount = max(1, (1 << 20) / stride)
    for first in Swift.stride(from: 0, to: band.height, by: rowCount) {
      let rows = first..<min(band.height, first + rowCount)
      try band.withStoredSamples(of: rows) { samples in
        try Self.catching(formatName) {
          condi_image_writer_add(handle, samples.baseAddress, UInt32(rows.count), $0)
        }
      }
      try write(takeBytes())
    }
  }

  /// Ends the file after its last row, and gives `write` the rest of it.
  package func finish(_ write: ([UInt8]) throws -> Void) throws {
    try Self.catching(formatName) { condi_image_writer_finish(handle, $0) }
    try write(takeBytes())
  }

  private func takeBytes() -> [UInt8] {
    var count = 0
    let start = condi_image_writer_take(handle, &count)
    return Array(UnsafeBufferPointer(start: start, count: count))
  }
}

extension RasterImage {
  /// Calls `body` with the samples of some rows as one byte each, or as two bytes in native order.
  fileprivate func withStoredSamples<Result>(
    of rows: Range<Int>, _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
  ) rethrows -> Result {
    let stride = width * channelCount
    let part = samples[rows.lowerBound * stride..<rows.upperBound * stride]
    switch bitDepth {
    case .eight: return try part.map { UInt8(truncatingIfNeeded: $0) }.withUnsafeBufferPointer(body)
    case .sixteen:
      return try part.withUnsafeBytes { try $0.withMemoryRebound(to: UInt8.self, body) }
    }
  }
}

extension ImageTags {
  /// Calls `body` with the tags as a writer of `format` takes them.
  fileprivate func withTags<Result>(
    for format: ImageFormat, _ body: (condi_image_tags) throws -> Result
  ) rethrows -> Result {
    var tags = condi_image_tags()
    if let standardIntent {
      tags.has_srgb = 1
      tags.srgb_intent = Int32(standardIntent)
    }
    if let gamma {
      tags.has_gamma = 1
      tags.gamma = Int32(clamping: gamma)
    }
    if let chromaticities, chromaticities.count == 8 {
      tags.has_chromaticities = 1
      withUnsafeMutableBytes(of: &tags.chromaticities) { target in
        let values = target.bindMemory(to: Int32.self)
        for index in 0..<8 { values[index] = Int32(clamping: chromaticities[index]) }
      }
    }
    if let (unit, horizontal, vertical) = density.flatMap({ Self.stored($0, in: format) }) {
      tags.has_density = 1
      tags.density_unit = unit
      tags.horizontal_density = horizontal
      tags.vertical_density = vertical
    }
    return try (profile.map { $0.name + [0] } ?? []).withUnsafeBytes { name in
      try Self.withPointers([profile?.bytes, codePoints, masteringDisplay, lightLevel]) {
        pointers in
        if let profile {
          tags.profile_name = name.bindMemory(to: CChar.self).baseAddress
          tags.profile = pointers[0]
          tags.profile_size = UInt32(clamping: profile.bytes.count)
        }
        tags.code_points = pointers[1]
        tags.mastering_display = pointers[2]
        tags.light_level = pointers[3]
        return try body(tags)
      }
    }
  }

  /// Returns a density's unit and numbers as `format` stores them; `nil` if it has no place for them.
  private static func stored(
    _ density: Density, in format: ImageFormat
  ) -> (unit: Int32, horizontal: UInt32, vertical: UInt32)? {
    // 31 bits, not 0.
    func number(_ density: Double) -> UInt32 {
      UInt32(min(max(density.rounded(), 1), 0x7FFF_FFFF))
    }
    switch format {
    case .png:
      return (density.isRatio ? 0 : 1, number(density.horizontal), number(density.vertical))
    case .jpeg:
      return JPEGCodec.storedDensity(density).map { (Int32($0), UInt32($1), UInt32($2)) }
    case .webp: return nil
    }
  }

  /// Calls `body` with a pointer to each of `arrays`, `nil` for an absent array.
  private static func withPointers<Result>(
    _ arrays: [[UInt8]?], _ pointers: [UnsafePointer<UInt8>?] = [],
    _ body: ([UnsafePointer<UInt8>?]) throws -> Result
  ) rethrows -> Result {
    guard pointers.count < arrays.count else { return try body(pointers) }
    guard let array = arrays[pointers.count] else {
      return try withPointers(arrays, pointers + [nil], body)
    }
    return try array.withUnsafeBufferPointer {
      try withPointers(arrays, pointers + [$0.baseAddress], body)
    }
  }
}
