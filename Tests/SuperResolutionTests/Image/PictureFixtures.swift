import Formats
import Foundation
import SuperResolution
import TestSupport

/// The files in `Tests/Fixtures/images`; `generate_images.py` says what they are.
enum PictureFixtures {
  struct Expected: Decodable {
    let width: Int
    let height: Int
    let channels: Int
    let bitDepth: Int
    let crc32: UInt32?
    /// Base64 of the samples of a JPEG file.
    let samples: String?
  }

  static func path(_ name: String) throws -> String {
    try PackageFolder.fixture("images/\(name)")
  }

  static func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: try path(name))))
  }

  static func json<Value: Decodable>(_ type: Value.Type, _ name: String) throws -> Value {
    try JSONDecoder().decode(type, from: Data(try bytes(name)))
  }

  static func expected() throws -> [String: Expected] {
    try json([String: Expected].self, "pictures.json")
  }

  /// The name of every file that must be read.
  static let names: [String] = ((try? expected()) ?? [:]).keys.sorted()

  /// What a picture's samples are compared by, as in `pictures.json`.
  static func checksum(_ image: RasterImage) -> UInt32 {
    CRC32.checksum(SharedBytes(elementsOf: image.samples))
  }

  /// A picture of waves and noise.
  static func sample(
    width: Int, height: Int, channelCount: Int, bitDepth: RasterImage.BitDepth = .eight,
    seed: UInt64 = 1
  ) -> RasterImage {
    var generator = SplitMix(seed: seed)
    let samples = (0..<width * height * channelCount).map { _ in
      UInt16.random(in: 0...UInt16(bitDepth.maximum), using: &generator)
    }
    return RasterImage(
      width: width, height: height, channelCount: channelCount, bitDepth: bitDepth,
      samples: samples)
  }
}
