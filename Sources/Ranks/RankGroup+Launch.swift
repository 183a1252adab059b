extension RankGroup {
  /// Whether the package was built with its trait `MPI`.
  package static var isSupported: Bool {
    #if MPI
      true
    #else
      false
    #endif
  }

  /// The group that a launcher started this process in: that of Open MPI, where the package was built
  /// with its trait `MPI` and the environment says that `mpirun`, or `srun` with PMIx or PMI, is there;
  /// else the process alone.
  ///
  /// To be called once, after signal handlers are installed.
  package static func launched(environment: [String: String]) -> RankGroup {
    #if MPI
      let launchers = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"]
      guard launchers.contains(where: { environment[$0] != nil }) else { return .alone }
      return RankGroup(MPILink())
    #else
      return .alone
    #endif
  }
}
