import OrderedCollections
import Storage

/// The files that `torch.export.save` writes since PyTorch 2.8, `.pt2`: a zip archive of a program
/// and its weights. The weights and constants are read, the program is not.
///
/// `data/weights/<model>_weights_config.json` lists the file, type, sizes and strides of each
/// weight; `data/constants` has the same form.
package struct ExportedProgramFormat: ReadOnlyModelFormat {
  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "pt2", displayName: "PyTorch exported program", fileExtensions: ["pt2"])
  }

  private static let configurationSuffixes = [
    "weights": "_weights_config.json", "constants": "_constants_config.json",
  ]

  package func recognizes(_ file: InputFile) -> Bool {
    guard let signature = try? file.bytes(at: 0, count: 4, purpose: "the signature").array,
      signature == Array("PK\u{3}\u{4}".utf8), let entries = try? file.zipDirectory().entries
    else { return false }
    return Self.folder(of: entries.map(\.name)) != nil
  }

  /// Returns the folder that contains everything, with its slash.
  private static func folder(of names: [String]) -> String? {
    names.lazy.compactMap { name -> String? in
      let parts = name.split(separator: "/", omittingEmptySubsequences: false)
      return parts.count == 2 && parts[1] == "archive_format" ? "\(parts[0])/" : nil
    }.first
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let zip = try ZipArchive(file)
      guard let folder = Self.folder(of: zip.entries.map(\.name)),
        let format = zip.entry(named: "\(folder)archive_format")
      else { throw ModelError.malformed("not an exported program") }
      let name = String(decoding: try zip.bytes(of: format).array, as: UTF8.self)
      guard name == "pt2" else {
        throw ModelError.unsupported("exported programs of the format '\(name)' are not supported")
      }
      var archive = TensorArchive(format: identifier)
      let isBigEndian = try Self.isBigEndian(zip, folder)
      var used: Set<String> = []
      let configurations = Self.configurations(in: zip, folder)
      let models = Set(configurations.map(\.model))
      for configuration in configurations {
        try locatingErrors(entry: configuration.entry.name) {
          try archive.add(
            configuration, of: zip, prefix: models.count > 1 ? configuration.model : "",
            isBigEndian: isBigEndian, used: &used)
        }
      }
      archive.notes.append("the program of this exported model is not read")
      for entry in zip.entries where Self.isUnread(entry, folder, used) {
        archive.unread.append(
          UnreadEntry(
            name: entry.name, kind: "file",
            reason: "neither a weight nor a constant of the model: "
              + counted(entry.byteCount, "byte")))
      }
      return archive
    }
  }

  private static func isBigEndian(_ zip: ZipArchive, _ folder: String) throws -> Bool {
    guard let entry = zip.entry(named: "\(folder)byteorder") else { return false }
    return try zip.bytes(of: entry).array == Array("big".utf8)
  }

  /// Whether the entry is data beside the model's own: sample inputs, compiled code, custom
  /// objects.
  private static func isUnread(
    _ entry: ZipArchive.Entry, _ folder: String, _ used: Set<String>
  ) -> Bool {
    let name = entry.name.dropFirst(folder.count)
    return name.hasPrefix("data/") && !used.contains(entry.name) && !name.hasSuffix("_config.json")
      && !name.hasSuffix("/")
  }

  // MARK: Configurations

  /// A list of the weights or constants of a model.
  fileprivate struct Configuration {
    let model: String
    let entry: ZipArchive.Entry
    /// The folder of its files, with a slash.
    let folder: String
  }

  private static func configurations(in zip: ZipArchive, _ folder: String) -> [Configuration] {
    ["weights", "constants"].flatMap { kind -> [Configuration] in
      let place = "\(folder)data/\(kind)/"
      let suffix = configurationSuffixes[kind] ?? ""
      return zip.entries.compactMap { entry in
        guard entry.name.hasPrefix(place), entry.name.hasSuffix(suffix) else { return nil }
        let model = entry.name.dropFirst(place.count).dropLast(suffix.count)
        return Configuration(model: String(model), entry: entry, folder: place)
      }
    }
  }

  /// `torch._export.serde.schema.ScalarType`.
  fileprivate static let elementTypes: [Int: ElementType] = [
    1: .uint8, 2: .int8, 3: .int16, 4: .int32, 5: .int64, 6: .float16, 7: .float32, 8: .float64,
    9: .complex32, 10: .complex64, 11: .complex128, 12: .bool, 13: .bfloat16, 28: .uint16,
    29: .float8E4M3FN, 30: .float8E5M2, 31: .float8E4M3FNUZ, 32: .float8E5M2FNUZ,
    33: .float8E8M0FNU, 34: .uint32, 35: .uint64,
  ]
}

extension TensorArchive {
  /// Adds the tensors that `configuration` lists.
  fileprivate mutating func add(
    _ configuration: ExportedProgramFormat.Configuration, of zip: ZipArchive, prefix: String,
    isBigEndian: Bool, used: inout Set<String>
  ) throws {
    let json = try JSONDocument.parse(try zip.bytes(of: configuration.entry))
    guard case .object(let document) = json, case .object(let items)? = document["config"] else {
      throw ModelError.malformed("the list of weights has no object 'config'")
    }
    var storages: [String: TensorStorage] = [:]
    for (key, item) in items {
      let name = ArchiveStructure.join(prefix, key)
      try locatingErrors(tensor: name) {
        guard case .object(let members) = item, case .string(let file)? = members["path_name"]
        else { throw ModelError.malformed("the list of weights names no file") }
        let place = configuration.folder + file
        used.insert(place)
        guard case .object(let meta)? = members["tensor_meta"],
          members["use_pickle"] != .boolean(true)
        else {
          unread.append(
            UnreadEntry(
              name: name, kind: "object", reason: "not a plain tensor, but an object of a class"))
          return
        }
        guard let entry = zip.entry(named: place) else {
          throw ModelError.malformed("the archive has no entry '\(place)'")
        }
        let storage =
          storages[place]
          ?? TensorStorage(byteCount: entry.byteCount) { try zip.bytes(of: entry) }
        storages[place] = storage
        do {
          try zip.checkReadable(entry)
          let tensor = try Self.tensor(meta, in: storage, isBigEndian: isBigEndian)
          guard tensors.updateValue(tensor, forKey: name) == nil else {
            throw ModelError.malformed("two tensors have this name")
          }
        } catch let error as ModelError {
          guard case .unsupported(let reason) = error.problem else { throw error }
          unread.append(UnreadEntry(name: name, kind: "torch.Tensor", reason: reason))
        }
      }
    }
  }

  private static func tensor(
    _ meta: OrderedDictionary<String, JSONValue>, in storage: TensorStorage, isBigEndian: Bool
  ) throws -> Tensor {
    guard case .integer(let code)? = meta["dtype"] else {
      throw ModelError.malformed("a weight has no 'dtype'")
    }
    guard let type = ExportedProgramFormat.elementTypes[code] else {
      throw ModelError.unsupported("the element type number \(code) is unknown")
    }
    guard !isBigEndian || type.byteSwapWidth == 1 else {
      throw ModelError.unsupported("big-endian exported programs are not supported")
    }
    guard case .array(let sizes)? = meta["sizes"], case .array(let strides)? = meta["strides"]
    else {
      throw ModelError.malformed("a weight has no 'sizes' or 'strides'")
    }
    let dimensions = try sizes.map(integer)
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed("the shape \(dimensions) is negative or overflows")
    }
    return try Tensor(
      elementType: type, shape: shape, storage: storage,
      elementOffset: try meta["storage_offset"].map(integer) ?? 0, strides: try strides.map(integer)
    )
  }

  /// Returns the integer of `{"as_int": 3}`.
  private static func integer(_ json: JSONValue) throws -> Int {
    if case .object(let members) = json, case .integer(let value)? = members["as_int"] {
      return value
    }
    throw ModelError.unsupported("sizes that are expressions are not supported")
  }
}

extension TensorArchive {
  /// The name under which a TorchScript archive's constants are read, as in its code.
  static let constantsName = "CONSTANTS"

  /// Adds a TorchScript archive's constants beside its attributes.
  ///
  /// - Throws: `ModelError` when an attribute has the name of a constant.
  mutating func add(constants: TensorArchive) throws {
    for (name, tensor) in constants.tensors {
      guard tensors.updateValue(tensor, forKey: name) == nil, values[name] == nil else {
        throw ModelError.malformed("an attribute and a constant have this name", tensor: name)
      }
    }
    for (name, value) in constants.values {
      guard values.updateValue(value, forKey: name) == nil, tensors[name] == nil else {
        throw ModelError.malformed("an attribute and a constant have this name", tensor: name)
      }
    }
    if case .dictionary(let entries, let isOrdered)? = structure, let added = constants.structure {
      structure = .dictionary(
        entries + [.init(key: .text(Self.constantsName), value: added)], isOrdered: isOrdered)
    } else {
      structure = nil
    }
    notes += constants.notes
  }
}

extension PyTorchObjectReader {
  /// Reads the constants of a TorchScript archive: `CONSTANTS.c0`, `CONSTANTS.c1`, …
  mutating func readConstants() throws -> TensorArchive {
    guard let items = sequence(graph.root) else {
      throw ModelError.malformed("the constants are not a tuple")
    }
    var entries: [ArchiveStructure.Entry] = []
    for (index, item) in items.enumerated() {
      entries.append(try entry("c\(index)", item, in: TensorArchive.constantsName))
    }
    return archive(of: .dictionary(entries, isOrdered: false))
  }
}
