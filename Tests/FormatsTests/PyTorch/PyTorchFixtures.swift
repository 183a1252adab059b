import Foundation
import TestSupport
import Testing

@testable import Formats
@testable import Storage

/// Files written by PyTorch, and their expected contents; see Tests/Fixtures/generate.py.
enum PyTorchFixtures {
  static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures")

  /// The shared data beside the package root.
  static let sharedData = folder.deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("shared/data")

  static let hasSharedData =
    FileManager.default.fileExists(atPath: sharedData.path)
    || ProcessInfo.processInfo.environment["CONDI_REQUIRE_SHARED"] == "1"

  struct Expectation: Decodable {
    struct Tensor: Decodable {
      let name: String
      let elementType: String
      let shape: [Int]
      let crc32: UInt32
    }

    struct Value: Decodable {
      let value: ArchiveValue

      private enum Key: CodingKey { case kind, value }

      init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        let kind = try container.decode(String.self, forKey: .kind)
        func real() throws -> Double {
          if let text = try? container.decode(String.self, forKey: .value) {
            return Double(text) ?? .nan
          }
          return try container.decode(Double.self, forKey: .value)
        }
        switch kind {
        case "none": value = .none
        case "boolean": value = .boolean(try container.decode(Bool.self, forKey: .value))
        case "integer": value = .integer(try container.decode(Int.self, forKey: .value))
        case "largeInteger":
          value = .largeInteger(try container.decode(String.self, forKey: .value))
        case "real": value = .real(try real())
        case "complex":
          let parts = try container.decode([Double].self, forKey: .value)
          value = .complex(real: parts[0], imaginary: parts[1])
        case "text": value = .text(try container.decode(String.self, forKey: .value))
        case "bytes":
          let digits = Array(try container.decode(String.self, forKey: .value))
          value = .bytes(
            stride(from: 0, to: digits.count, by: 2).compactMap {
              UInt8(String(digits[$0...$0 + 1]), radix: 16)
            })
        default:
          throw DecodingError.dataCorruptedError(
            forKey: .kind, in: container, debugDescription: kind)
        }
      }
    }

    let tensors: [Tensor]?
    let values: [String: Value]?
    let unread: [String]?
    let refused: Bool?
    let mayRefuse: Bool?
  }

  static func expectations(_ file: String) -> [String: Expectation] {
    guard let data = try? Data(contentsOf: folder.appendingPathComponent(file)),
      let all = try? JSONDecoder().decode([String: Expectation].self, from: data)
    else { return [:] }
    return all
  }

  static func open(_ name: String) throws -> InputFile {
    try InputFile(path: folder.appendingPathComponent(name).path)
  }

  static func read(_ name: String) throws -> TensorArchive {
    try PyTorchFormat().read(open(name))
  }

  /// Reads `file` and loads every tensor.
  static func load(_ file: InputFile) throws -> TensorArchive {
    let archive = try PyTorchFormat().read(file)
    for tensor in archive.tensors.values { _ = try tensor.bytes() }
    return archive
  }

  static func expect(
    _ archive: TensorArchive, is expectation: Expectation,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let expected = expectation.tensors ?? []
    // A bare tensor has no name of its own; the archive calls it "tensor".
    let names = expected.map { $0.name.isEmpty && expected.count == 1 ? "tensor" : $0.name }
    #expect(Array(archive.tensors.keys) == names, sourceLocation: sourceLocation)
    // Values are compared by their descriptions, in which NaN equals NaN.
    let values = Dictionary(
      uniqueKeysWithValues: (expectation.values ?? [:]).map {
        ($0.key.isEmpty ? "value" : $0.key, "\($0.value.value)")
      })
    #expect(
      Dictionary(uniqueKeysWithValues: archive.values.map { ($0.key, "\($0.value)") }) == values,
      sourceLocation: sourceLocation)
    #expect(
      archive.unread.map(\.name) == expectation.unread ?? [], sourceLocation: sourceLocation)
    for (tensor, found) in zip(expected, archive.tensors.values) {
      #expect(
        found.elementType.rawValue == tensor.elementType, "\(tensor.name)",
        sourceLocation: sourceLocation)
      #expect(
        found.shape.dimensions == tensor.shape, "\(tensor.name)", sourceLocation: sourceLocation)
      #expect(
        CRC32.checksum(try found.bytes()) == tensor.crc32, "\(tensor.name)",
        sourceLocation: sourceLocation)
    }
  }

  /// Writes `archive` and opens the result.
  static func rewrite(_ archive: TensorArchive) throws -> InputFile {
    let path = try ZipFiles.temporaryPath()
    defer { unlink(path) }
    var writer = try AtomicFileWriter(path: path)
    try writer.write(PyTorchFormat().plan(archive))
    try writer.finish()
    return try InputFile(path: path)
  }
}
