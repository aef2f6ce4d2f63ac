# Debian packages: `cpack -G DEB` in the build directory. A component is a package; what a program's folder installs belongs to
# the component that the top CMakeLists.txt names before it (CMAKE_INSTALL_DEFAULT_COMPONENT_NAME). What only packages
# have (configuration in /etc, units, documentation of Debian's kind) is left out by a plain `cmake --install`.
#
# The maintainer is whoever makes the packages: -DMQA_PACKAGE_CONTACT="Name <address>", or DEBFULLNAME and DEBEMAIL as for Debian's
# own tools. The default is a name that takes no mail.
set(contact "mosquitto-aws packagers <packages@mosquitto-aws.invalid>")
if(DEFINED ENV{DEBFULLNAME} AND DEFINED ENV{DEBEMAIL})
    set(contact "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
endif()
set(MQA_PACKAGE_CONTACT "${contact}" CACHE STRING "Maintainer of the packages")

set(packaging ${CMAKE_CURRENT_LIST_DIR}/packaging)
set(generated ${CMAKE_BINARY_DIR}/packaging)
set(CPACK_COMPONENTS_ALL "")

# package(COMPONENT NAME target DESCRIPTION text SYNOPSIS text [DEPENDS ..] [RECOMMENDS ..] [SUGGESTS ..] [CONF files..]
#         [UNIT name] [DOCS files..] [EXAMPLES files..] [SCRIPTS names..]): nothing when there is no such target
macro(package component)
    cmake_parse_arguments(p "" "NAME;TARGET;SYNOPSIS;DESCRIPTION;DEPENDS;RECOMMENDS;SUGGESTS;UNIT" "CONF;DOCS;EXAMPLES;SCRIPTS" ${ARGN})
    if(TARGET ${p_TARGET})
        list(APPEND CPACK_COMPONENTS_ALL ${component})
        string(TOUPPER ${component} upper)
        set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${p_NAME})
        set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION net)
        set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "${p_DEPENDS}")
        set(CPACK_DEBIAN_${upper}_PACKAGE_RECOMMENDS "${p_RECOMMENDS}")
        set(CPACK_DEBIAN_${upper}_PACKAGE_SUGGESTS "${p_SUGGESTS}")
        set(CPACK_DEBIAN_${upper}_DESCRIPTION "${p_SYNOPSIS}\n${p_DESCRIPTION}")
        package_conf(${component})
        package_documentation(${component})
        package_scripts(${component})
    endif()
endmacro()

# Configuration files, which dpkg is told of, and the unit.
macro(package_conf component)
    set(conffiles "")
    foreach(file IN LISTS p_CONF)
        get_filename_component(name ${file} NAME)
        string(APPEND conffiles "/etc/mosquitto-aws/${name}\n")
        install(FILES ${file} DESTINATION /etc/mosquitto-aws COMPONENT ${component} EXCLUDE_FROM_ALL)
    endforeach()
    if(conffiles)
        file(WRITE ${generated}/${component}/conffiles "${conffiles}")
    endif()
    if(p_UNIT)
        set(unit ${CMAKE_SOURCE_DIR}/conf/systemd/${p_UNIT}.service)
        install(FILES ${unit} DESTINATION /usr/lib/systemd/system COMPONENT ${component} EXCLUDE_FROM_ALL)
        # A plain installation has its programs elsewhere.
        file(READ ${unit} text)
        string(REPLACE /usr/sbin/ ${CMAKE_INSTALL_PREFIX}/sbin/ text "${text}")
        file(WRITE ${generated}/${p_UNIT}.service "${text}")
        install(FILES ${generated}/${p_UNIT}.service DESTINATION lib/systemd/system COMPONENT units)
        set(https ${CMAKE_SOURCE_DIR}/conf/systemd/${p_UNIT}-https.conf)
        if(EXISTS ${https})
            install(FILES ${https} DESTINATION /usr/share/mosquitto-aws/systemd COMPONENT ${component} EXCLUDE_FROM_ALL)
            file(READ ${https} text)
            string(REPLACE /usr/sbin/ ${CMAKE_INSTALL_PREFIX}/sbin/ text "${text}")
            file(WRITE ${generated}/${p_UNIT}-https.conf "${text}")
            install(FILES ${generated}/${p_UNIT}-https.conf DESTINATION share/mosquitto-aws/systemd COMPONENT units)
        endif()
    endif()
endmacro()

macro(package_documentation component)
    set(PACKAGE ${p_NAME})
    string(TIMESTAMP DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
    configure_file(${packaging}/changelog.in ${generated}/${component}/changelog @ONLY)
    set(doc share/doc/${p_NAME})
    install(FILES ${packaging}/copyright ${generated}/${component}/changelog ${p_DOCS} DESTINATION ${doc}
        COMPONENT ${component} EXCLUDE_FROM_ALL)
    if(p_EXAMPLES)
        install(FILES ${p_EXAMPLES} DESTINATION ${doc}/examples COMPONENT ${component} EXCLUDE_FROM_ALL)
    endif()
endmacro()

macro(package_scripts component)
    set(UNIT "${p_UNIT}")
    set(extra "")
    if(p_CONF)
        list(APPEND extra ${generated}/${component}/conffiles)
    endif()
    foreach(script IN LISTS p_SCRIPTS)
        get_filename_component(name ${script} NAME_WLE)
        configure_file(${packaging}/${script} ${generated}/${component}/${name} @ONLY FILE_PERMISSIONS
            OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
        list(APPEND extra ${generated}/${component}/${name})
    endforeach()
    set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${extra}")
endmacro()

set(conf ${CMAKE_SOURCE_DIR}/conf)
set(docs ${CMAKE_SOURCE_DIR}/docs)
set(scenarios greenhouse iotcore dynamodb dynamodb-iotcore things-stack basic-ingest)
list(TRANSFORM scenarios REPLACE "(.+)" "${conf}/scenarios/\\1.conf")
set(service_scripts service/postinst.in service/prerm.in service/postrm.in)

package(plugin NAME mosquitto-aws-plugin TARGET mosquitto_aws
    SYNOPSIS "mosquitto plugin for AWS IoT Core, DynamoDB and a local store"
    DESCRIPTION "Messages of chosen topics are put into a spool on disk before their\n\
publisher has an acknowledgement, and go from there to AWS IoT Core, to\n\
DynamoDB and to a local SQLite file, each at its own pace. What was\n\
acknowledged survives a crash of the broker and days without a network.\n\
Commands come back from IoT Core.\n\
\n\
The package also has mosquitto-aws-provision, which makes an AWS account\n\
ready for a gateway, and mosquitto-aws-check, which proves the result."
    DEPENDS "mosquitto (>= 2.0.11), libmosquitto1" RECOMMENDS "ca-certificates, procps" SUGGESTS "awscli, mosquitto-clients, curl, openssl"
    DOCS ${docs}/costs.md ${docs}/dynamodb.md ${docs}/iotcore.md ${docs}/log-ids.md ${docs}/migration.md ${docs}/security.md
         ${docs}/packages.md ${docs}/spool-format.md ${docs}/troubleshooting.md
    EXAMPLES ${conf}/mosquitto_aws.conf ${scenarios}
    SCRIPTS plugin/postinst.in plugin/prerm.in plugin/postrm.in)
package(mqttsn NAME mqttsn-gateway TARGET mqttsn-gateway UNIT mqttsn-gateway
    SYNOPSIS "MQTT-SN 1.2 gateway to an MQTT broker, over UDP and DTLS"
    DESCRIPTION "Connects small devices that speak MQTT-SN with an MQTT broker: one\n\
connection to the broker for each device, or one for all. Sleeping\n\
clients, predefined topics, QoS -1 and forwarders are supported. A device\n\
has its acknowledgement when the broker has acknowledged."
    RECOMMENDS "mosquitto, procps" DOCS ${docs}/mqttsn.md CONF ${conf}/mqttsn-gateway.conf SCRIPTS ${service_scripts})
package(websensor NAME mosquitto-aws-websensor TARGET websensor UNIT websensor
    SYNOPSIS "phones, webhooks and scripts to an MQTT broker over HTTPS"
    DESCRIPTION "Publishes what comes by HTTPS on an MQTT broker, and answers when the\n\
broker has acknowledged it. It takes the publish requests of AWS IoT, The\n\
Things Stack's webhook and the formats of several phone apps, and serves\n\
a page that turns a phone into a sensor."
    RECOMMENDS "mosquitto, procps, openssl" SUGGESTS "mosquitto-aws-plugin, qrencode" CONF ${conf}/websensor.conf SCRIPTS ${service_scripts})
package(dashboard NAME mosquitto-aws-dashboard TARGET dashboard.cgi
    SYNOPSIS "charts of measurements in SQLite or DynamoDB, as CGI or FastCGI"
    DESCRIPTION "Shows what the mosquitto-aws plugin has stored, as a page with charts, as\n\
JSON and as CSV. It only reads, and asks no login of its own: a web server\n\
runs it and decides who may see it."
    DEPENDS "libjs-dygraphs" RECOMMENDS "lighttpd | httpd-cgi, openssl" SUGGESTS "mosquitto-aws-plugin" CONF ${conf}/dashboard.conf
    EXAMPLES ${conf}/lighttpd-dashboard.conf ${conf}/nginx-dashboard.conf
    SCRIPTS dashboard/postinst.in dashboard/prerm.in dashboard/postrm.in)

# The set-up tools, also as commands: mosquitto-aws-provision(8) and its two neighbours.
if(TARGET mosquitto_aws)
    install(PROGRAMS ${CMAKE_SOURCE_DIR}/certs/provision ${CMAKE_SOURCE_DIR}/certs/check ${CMAKE_SOURCE_DIR}/certs/dev-ca
        DESTINATION share/mosquitto-aws/certs COMPONENT plugin)
    foreach(tool provision check dev-ca)
        file(CREATE_LINK ../share/mosquitto-aws/certs/${tool} ${generated}/mosquitto-aws-${tool} SYMBOLIC)
        install(FILES ${generated}/mosquitto-aws-${tool} DESTINATION sbin COMPONENT plugin)
        install(FILES ${CMAKE_SOURCE_DIR}/docs/man/mosquitto-aws-${tool}.8 DESTINATION share/man/man8 COMPONENT plugin)
    endforeach()
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/certs/provision.d DESTINATION share/mosquitto-aws/certs COMPONENT plugin)
    install(FILES ${conf}/systemd/mosquitto-sandbox.conf DESTINATION share/mosquitto-aws/systemd COMPONENT plugin)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mosquitto-aws)
set(CPACK_PACKAGE_CONTACT "${MQA_PACKAGE_CONTACT}")
# cpack puts this line before the description of each component, unless it is the one that it has by itself.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_NAME} built using CMake")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${packaging}/compress.cmake)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
include(CPack)
