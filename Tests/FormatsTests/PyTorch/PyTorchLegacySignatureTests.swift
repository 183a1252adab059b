import Formats
import Testing

@testable import struct Formats.PyTorchLegacyStream
@testable import Storage

@Suite struct PyTorchLegacySignatureTests {
  /// `pickle.dumps(0x1950A86A20F9469CFC6C, protocol)` for protocols 0 to 5.
  static let magicNumbers: [[UInt8]] = [
    Array("L119547037146038801333356L\n.".utf8),
    Array("L119547037146038801333356L\n.".utf8),
    [0x80, 2] + long, [0x80, 3] + long, [0x80, 4] + frame + long, [0x80, 5] + frame + long,
  ]
  private static let frame: [UInt8] = [0x95, 13, 0, 0, 0, 0, 0, 0, 0]
  private static let long: [UInt8] = [
    0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
  ]

  @Test(arguments: magicNumbers)
  func everyProtocolIsRecognized(_ bytes: [UInt8]) {
    #expect(PyTorchLegacyStream.isBeginning(SharedBytes(bytes + [0x80, 2])))
    #expect(!PyTorchLegacyStream.isBeginning(SharedBytes(bytes.dropFirst())))
  }
}
