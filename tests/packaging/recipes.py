#!/usr/bin/env python3
"""Checks packaging/: what the registries require is there, and names the version that include/ has.

The recipes are copied into other repositories, so they cannot read the version from here; this compares it instead.
"""
import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORT = ROOT / 'packaging/vcpkg/dtm'
RECIPE = ROOT / 'packaging/conan/dtm'


def main():
    version = re.search(r'kVersion = "(.*)"', (ROOT / 'include/dtm/base/version.hpp').read_text()).group(1)
    problems = []

    def check(path, condition, problem):
        if not condition:
            problems.append(f'{path.relative_to(ROOT)}: {problem}')

    port = json.loads((PORT / 'vcpkg.json').read_text())
    for field in ('name', 'version', 'description', 'homepage', 'license', 'supports', 'dependencies'):
        check(PORT / 'vcpkg.json', port.get(field), f'vcpkg wants the field {field}')
    check(PORT / 'vcpkg.json', port.get('name') == PORT.name, 'name must be that of the folder')
    check(PORT / 'vcpkg.json', port.get('version') == version, f'version must be {version}')
    check(PORT / 'portfile.cmake', 'REF "v${VERSION}"' in (PORT / 'portfile.cmake').read_text(), 'the tag must be v${VERSION}')
    drivers = ['mysql', 'postgres', 'redis']
    check(PORT / 'vcpkg.json', sorted(port.get('features', {})) == drivers, f'the features must be {drivers}')
    for driver in drivers:
        option = f'{driver} DTM_{driver.upper()}'
        check(PORT / 'portfile.cmake', option in (PORT / 'portfile.cmake').read_text(), f'the feature must set {option}')
        check(RECIPE / 'all/conanfile.py', f'self.options.{driver}' in (RECIPE / 'all/conanfile.py').read_text(),
              f'must have the option {driver}')
    check(PORT / 'usage', 'find_package(dtm' in (PORT / 'usage').read_text(), 'must say find_package(dtm ...)')

    # conan-center: the folders by version, the sources by version, and a recipe that names none. (Without a YAML parser.)
    versions = re.findall(r'^  "(.*)":$', (RECIPE / 'config.yml').read_text(), re.M)
    check(RECIPE / 'config.yml', versions[:1] == [version], f'the first version must be {version}')
    data = (RECIPE / 'all/conandata.yml').read_text()
    sources = re.findall(r'^  "(.*)":\n    url: ".*/v(.*)\.tar\.gz"\n    sha256: "[0-9a-f]{64}"$', data, re.M)
    check(RECIPE / 'all/conandata.yml', sources == [(known, known) for known in versions],
          f'must have url and sha256 of each of {versions}')
    recipe = (RECIPE / 'all/conanfile.py').read_text()
    fields = {target.id for node in ast.walk(ast.parse(recipe)) if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}
    for field in ('name', 'description', 'license', 'url', 'homepage', 'topics', 'package_type', 'settings'):
        check(RECIPE / 'all/conanfile.py', field in fields, f'conan-center wants the field {field}')
    check(RECIPE / 'all/conanfile.py', 'version' not in fields, 'the version comes from config.yml')
    for name in ('conanfile.py', 'CMakeLists.txt', 'test_package.cpp'):
        check(RECIPE / 'all/test_package' / name, (RECIPE / 'all/test_package' / name).exists(), 'is missing')

    if problems:
        sys.exit('\n'.join(problems))
    print(f'recipes: name version {version} and what the registries want')


main()
