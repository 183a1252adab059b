import Foundation
import Imaging
import Storage

/// The files in `Tests/Fixtures/images`, which `generate_images.py` describes.
package enum ImageFixtures {
  package struct Expected: Decodable {
    package let width: Int
    package let height: Int
    package let channels: Int
    package let bitDepth: Int
    package let crc32: UInt32?
    /// Base64 of the samples of a JPEG file.
    package let samples: String?
  }

  package static func path(_ name: String) throws -> String {
    try PackageFolder.fixture("images/\(name)")
  }

  package static func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: try path(name))))
  }

  package static func json<Value: Decodable>(_ type: Value.Type, _ name: String) throws -> Value {
    try JSONDecoder().decode(type, from: Data(try bytes(name)))
  }

  package static func expected() throws -> [String: Expected] {
    try json([String: Expected].self, "images.json")
  }

  /// The name of every file that must be readable.
  package static let names: [String] = ((try? expected()) ?? [:]).keys.sorted()

  /// Returns the checksum of an image's samples, as in `images.json`.
  package static func checksum(_ image: RasterImage) -> UInt32 {
    CRC32.checksum(SharedBytes(elementsOf: image.samples))
  }

  /// Returns an image of seeded noise.
  package static func sample(
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
