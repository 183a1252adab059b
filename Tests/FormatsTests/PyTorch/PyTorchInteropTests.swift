import Foundation
import Testing

@testable import Formats
@testable import Storage

/// Writes files for PyTorch itself to open. With `CONDI_INTEROP_FOLDER=DIR` set, every readable
/// fixture goes to `DIR/pytorch`, and `Tests/Fixtures/interop/check_written.py DIR/pytorch` checks
/// it.
@Suite struct PyTorchInteropTests {
  static let folder = ProcessInfo.processInfo.environment["CONDI_INTEROP_FOLDER"]

  private struct Manifest: Encodable {
    struct File: Encodable {
      let file: String
      let tensors: [Tensor]
    }

    struct Tensor: Encodable {
      let name: String
      let elementType: String
      let shape: [Int]
      let crc32: UInt32
    }

    var files: [File] = []
  }

  @Test(.enabled(if: folder != nil, "CONDI_INTEROP_FOLDER is not set"))
  func writesFilesForPyTorch() throws {
    let root = URL(fileURLWithPath: try #require(Self.folder)).appendingPathComponent("pytorch")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
    var manifest = Manifest()
    for (path, expectation) in PyTorchReadingTests.expectations.sorted(by: { $0.key < $1.key })
    where expectation.refused != true && expectation.mayRefuse != true {
      let archive = try PyTorchFixtures.read(path)
      let name = URL(fileURLWithPath: path).lastPathComponent
      try FormatRegistry.standard.write(
        archive, as: PyTorchFormat(), to: root.appendingPathComponent(name).path,
        replacesExisting: true)
      let tensors = try (expectation.tensors ?? []).map { tensor in
        let key =
          tensor.name.isEmpty && archive.structure == .leaf("tensor") ? "tensor" : tensor.name
        let found = try #require(archive.tensors[key])
        return Manifest.Tensor(
          name: tensor.name, elementType: found.elementType.rawValue,
          shape: found.shape.dimensions, crc32: CRC32.checksum(try found.bytes()))
      }
      manifest.files.append(Manifest.File(file: name, tensors: tensors))
    }
    #expect(manifest.files.count > 50)
    try JSONEncoder().encode(manifest).write(to: root.appendingPathComponent("manifest.json"))
  }
}
