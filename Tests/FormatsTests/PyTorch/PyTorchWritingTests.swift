import Foundation
import OrderedCollections
import Testing

@testable import Formats
@testable import Storage

@Suite struct PyTorchWritingTests {
  static let elementTypes = ElementType.allCases.filter { PyTorchTypes.dtype(of: $0) != nil }
  static let shapes = [[], [0], [1], [3, 4], [2, 0, 4], [5, 1, 2, 2]]

  @Test(arguments: elementTypes)
  func elementTypeRoundTrips(elementType: ElementType) throws {
    var archive = TensorArchive()
    for dimensions in Self.shapes {
      guard let shape = Shape(dimensions),
        let count = elementType.byteCount(forElements: shape.elementCount),
        elementType != .float4E2M1 || dimensions.last?.isMultiple(of: 2) == true
      else { continue }
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
      archive.tensors["x\(dimensions)"] = try Tensor(
        elementType: elementType, shape: shape, bytes: SharedBytes(bytes))
    }
    #expect(archive.tensors.count >= 2)
    let read = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
    #expect(read.tensors.keys == archive.tensors.keys)
    for (name, tensor) in archive.tensors {
      let found = try #require(read.tensors[name])
      #expect(found.elementType == tensor.elementType)
      #expect(found.shape == tensor.shape)
      #expect(try found.bytes().array == tensor.bytes().array)
    }
  }

  @Test(arguments: [ElementType.float6E2M3, .float6E3M2])
  func typesMissingInTorchAreRefused(elementType: ElementType) throws {
    let tensor = try Tensor(elementType: elementType, shape: [4], bytes: SharedBytes([1, 2, 3]))
    #expect(
      throws: ModelError.unsupported("PyTorch has no element type \(elementType)", tensor: "x")
    ) { try PyTorchFixtures.rewrite(TensorArchive(tensors: ["x": tensor])) }
  }

  @Test func oddRowsOfHalfByteElementsAreRefused() throws {
    let tensor = try Tensor(
      elementType: .float4E2M1, shape: [2, 3], bytes: SharedBytes([1, 2, 3]))
    let error = #expect(throws: ModelError.self) {
      try PyTorchFixtures.rewrite(TensorArchive(tensors: ["x": tensor]))
    }
    #expect(error?.tensor == "x")
  }

  @Test func valuesRoundTrip() throws {
    let values: OrderedDictionary<String, ArchiveValue> = [
      "none": .none, "yes": .boolean(true), "no": .boolean(false), "zero": .integer(0),
      "byte": .integer(255), "short": .integer(256), "word": .integer(65536),
      "negative": .integer(-1), "long": .integer(1 << 40), "least": .integer(.min),
      "most": .integer(.max), "large": .largeInteger("1180591620717411303424"),
      "largeNegative": .largeInteger("-9223372036854775809"),
      "edge": .largeInteger("9223372036854775808"), "real": .real(-0.1),
      "infinite": .real(.infinity), "complex": .complex(real: 1, imaginary: -2),
      "text": .text("é\u{1F600}\n"), "empty": .text(""), "bytes": .bytes([0, 127, 128, 255]),
      "noBytes": .bytes([]),
    ]
    let read = try PyTorchFormat().read(
      PyTorchFixtures.rewrite(TensorArchive(values: values)))
    #expect(read.values == values)
    #expect(read.tensors.isEmpty)
  }

  @Test func everyStructureRoundTrips() throws {
    let tensor = try Tensor(elementType: .uint8, shape: [2], bytes: SharedBytes([1, 2]))
    let structure = ArchiveStructure.dictionary(
      [
        .init(key: .text("list"), value: .list([.leaf("list.0"), .leaf("list.1"), .list([])])),
        .init(key: .integer(7), value: .tuple([.leaf("7.0")])),
        .init(key: .none, value: .set([.leaf("None.0"), .leaf("None.1")])),
        .init(
          key: .boolean(true),
          value: .dictionary([.init(key: .real(0.5), value: .leaf("True.0.5"))], isOrdered: true)),
        .init(key: .text("empty"), value: .dictionary([], isOrdered: true)),
      ], isOrdered: false)
    let archive = TensorArchive(
      tensors: ["list.0": tensor, "7.0": tensor, "True.0.5": tensor],
      values: ["list.1": .text("a"), "None.0": .integer(1), "None.1": .integer(2)],
      structure: structure)
    let read = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
    #expect(read.structure == structure)
    #expect(read.tensors.keys == archive.tensors.keys)
    #expect(read.values == archive.values)
  }

  @Test func bareTensorsStayBare() throws {
    let archive = try PyTorchFixtures.read("torch/bare_tensor.pth")
    #expect(archive.structure == .leaf("tensor"))
    let read = try PyTorchFormat().read(PyTorchFixtures.rewrite(archive))
    #expect(read.structure == .leaf("tensor"))
  }

  @Test func sharedStoragesStaySharedAndOthersBecomeCompact() throws {
    let storage = TensorStorage(SharedBytes((0..<40).map { UInt8($0) }))
    func view(_ offset: Int, _ dimensions: [Int], _ strides: [Int]) throws -> Tensor {
      try Tensor(
        elementType: .int16, shape: #require(Shape(dimensions)), storage: storage,
        elementOffset: offset, strides: strides)
    }
    // Two views overlap from element 2 of the first on, one is separate, and one repeats its
    // elements.
    let archive = TensorArchive(tensors: [
      "a": try view(2, [3, 2], [2, 1]), "b": try view(4, [2, 3], [1, 2]),
      "c": try view(12, [2], [3]), "d": try view(18, [4, 2], [0, 1]),
    ])
    let file = try PyTorchFixtures.rewrite(archive)
    let zip = try ZipArchive(file)
    let data = zip.entries.filter { $0.name.contains("/data/") }
    #expect(data.map(\.byteCount) == [16, 4, 4])
    #expect(zip.entries.allSatisfy { $0.dataOffset.isMultiple(of: 64) })
    let read = try PyTorchFormat().read(file)
    for (name, tensor) in archive.tensors {
      #expect(try read.tensors[name]?.bytes().array == tensor.bytes().array)
    }
    #expect(read.tensors["a"]?.view?.storage === read.tensors["b"]?.view?.storage)
    #expect(read.tensors["b"]?.view?.strides == [1, 2])
    #expect(read.tensors["d"]?.view?.strides == [0, 1])
  }

  @Test func entriesMatchTorchNamesAndOrder() throws {
    let tensor = try Tensor(elementType: .float32, shape: [1], bytes: SharedBytes([0, 0, 128, 63]))
    let archive = TensorArchive(
      tensors: ["x": tensor, "y": tensor], metadata: ["license": "MIT", "b": "\"quoted\""])
    let file = try PyTorchFixtures.rewrite(archive)
    #expect(
      try ZipArchive(file).entries.map(\.name)
        == [
          "data.pkl", ".format_version", ".storage_alignment", "byteorder", "data/0", "data/1",
          "version", "condi_metadata.json", ".data/serialization_id",
        ].map { "archive/\($0)" })
    #expect(try PyTorchFormat().read(file).metadata == archive.metadata)
    let again = try PyTorchFixtures.rewrite(archive)
    #expect(
      try file.bytes(at: 0, count: file.byteCount, purpose: "test").array
        == again.bytes(at: 0, count: again.byteCount, purpose: "test").array)
  }

  @Test func incompleteStructuresAreRefused() throws {
    let tensor = try Tensor(elementType: .uint8, shape: [1], bytes: SharedBytes([1]))
    #expect(
      throws: ModelError.malformed("it has no place in the checkpoint's structure", tensor: "y")
    ) {
      try PyTorchFixtures.rewrite(
        TensorArchive(
          tensors: ["x": tensor, "y": tensor],
          structure: .dictionary([.init(key: .text("x"), value: .leaf("x"))], isOrdered: true)))
    }
    #expect(
      throws: ModelError.malformed("the structure names something that is missing", tensor: "z")
    ) { try PyTorchFixtures.rewrite(TensorArchive(structure: .leaf("z"))) }
    #expect(
      throws: ModelError.malformed("a tensor and a value have the same name", tensor: "x")
    ) {
      try PyTorchFixtures.rewrite(TensorArchive(tensors: ["x": tensor], values: ["x": .none]))
    }
  }
}
