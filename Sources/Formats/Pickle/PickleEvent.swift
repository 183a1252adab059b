import Storage

/// Something that a pickle would make Python do beyond building plain data.
package struct PickleEvent: Hashable, Sendable {
  /// The kind of an event.
  package enum Kind: Hashable, Sendable {
    /// A lookup of a class or function, which imports its module.
    case global(name: String)
    /// A lookup of a global whose name is computed while unpickling, so that the file does not show
    /// it.
    case computedGlobal
    /// A lookup of a registered extension code.
    case extensionCode(Int)
    /// A call; `callee` is `nil` if the callee was computed.
    case call(callee: String?, argument: String)
    /// Setting the state of an object, or of the class or function itself.
    case state(of: String?, isGlobal: Bool)
    /// A request to the unpickling program for an object, by an identifier.
    case persistentIdentifier(String)
  }

  /// The kind of the event.
  package let kind: Kind
  /// The assessment of the event.
  package let verdict: PickleVerdict
  /// The known effect of the global.
  package let knownFor: String?
  /// The opcode as `pickletools` names it.
  package let opcode: String
  /// The offset in the file, or in the decompressed stream if the file holds the pickle compressed.
  package let offset: Int

  init(_ kind: Kind, _ judgement: PickleGlobalJudgement, opcode: PickleOpcode, offset: Int) {
    self.init(kind, judgement, opcodeName: opcode.name, offset: offset)
  }

  init(_ kind: Kind, _ judgement: PickleGlobalJudgement, opcodeName: String, offset: Int) {
    self.kind = kind
    verdict = judgement.verdict
    knownFor = judgement.knownFor
    opcode = opcodeName
    self.offset = offset
  }

  init(_ kind: Kind, opcode: PickleOpcode, offset: Int) {
    self.init(kind, Self.judgement(of: kind), opcode: opcode, offset: offset)
  }

  private static func judgement(of kind: Kind) -> PickleGlobalJudgement {
    switch kind {
    case .global(let name): return PickleGlobalJudgement(of: name)
    case .computedGlobal:
      return .init(.dangerous, "hides which class or function is meant")
    case .extensionCode:
      return .init(.dangerous, "stands for a class or function that is named outside the file")
    case .call(let callee, _), .state(let callee, isGlobal: false):
      guard let callee else { return .init(.dangerous, "uses something computed as a function") }
      return PickleGlobalJudgement(of: callee)
    case .state(_, isGlobal: true):
      return .init(.dangerous, "changes a class, function or module itself")
    case .persistentIdentifier: return .init(.allowed, nil)
    }
  }
}

/// The degree to which a class or function that a pickle names can be trusted.
package enum PickleVerdict: String, Codable, CaseIterable, Sendable {
  /// The name is known to be data or a constructor of data.
  case allowed
  /// Nothing is known about the name.
  case unknown
  /// The name is known to run code, to reach the network or the file system, or to hide what is
  /// called.
  case dangerous
}

/// The record of the effects of a pickle, as far as it could be followed.
struct PickleRecord: Sendable {
  let events: [PickleEvent]
  /// The objects; the root is meaningless if there is a problem.
  let graph: PickleGraph
  /// The reason why the pickle could not be followed to its end; `nil` if it was.
  let problem: ModelError?
}

extension PickleOpcode {
  /// The opcode's name in CPython's `pickletools`.
  var name: String {
    switch self {
    case .global: "GLOBAL"
    case .stackGlobal: "STACK_GLOBAL"
    case .inst: "INST"
    case .obj: "OBJ"
    case .reduce: "REDUCE"
    case .newObj: "NEWOBJ"
    case .newObjEx: "NEWOBJ_EX"
    case .build: "BUILD"
    case .persID: "PERSID"
    case .binPersID: "BINPERSID"
    case .ext1: "EXT1"
    case .ext2: "EXT2"
    case .ext4: "EXT4"
    default: "\(self)".uppercased()
    }
  }
}
